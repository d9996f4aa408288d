//! bindings/symbols-in-versions.txt: the list of what the library exports, and since when.

use crate::project;

/// An exported function.
pub(crate) struct Symbol {
    pub(crate) name: String,
    /// Release that had it first: the symbol version is `CDPS_` and this.
    since: String,
}

/// Everything that is listed.
pub(crate) fn listed() -> Result<Vec<Symbol>, String> {
    let path = project::top().join("bindings/symbols-in-versions.txt");
    project::read(&path)?
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|line| !line.is_empty())
        .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, since] => Ok(Symbol { name: name.to_owned(), since: since.to_owned() }),
            _ => Err(format!("{}: {line:?} is not NAME RELEASE", path.display())),
        })
        .collect()
}

/// The version script of the linker: each release's symbols on top of the one before.
pub(crate) fn version_script(symbols: &[Symbol]) -> String {
    let mut releases: Vec<&str> = symbols.iter().map(|symbol| symbol.since.as_str()).collect();
    releases
        .sort_by_key(|release| release.split('.').map(|n| n.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>());
    releases.dedup();
    let mut script = String::new();
    let mut before = String::new();
    for release in releases {
        script.push_str(&format!("CDPS_{release} {{\n    global:\n"));
        for symbol in symbols.iter().filter(|symbol| symbol.since == release) {
            script.push_str(&format!("        {};\n", symbol.name));
        }
        if before.is_empty() {
            script.push_str("    local:\n        *;\n");
        }
        script.push_str(&format!("}}{before};\n"));
        before = format!(" CDPS_{release}");
    }
    script
}
