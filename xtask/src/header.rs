//! include/cdps/cdps.h, from the sources of cdps-ffi and the prose around them.

use std::path::PathBuf;

use cbindgen::{Builder, Config};

use crate::project;
use crate::symbols;

/// Sources of the interface, in the order in which the header shows them.
const SOURCES: &[&str] = &[
    "version.rs",
    "types.rs",
    "decision.rs",
    "error.rs",
    "names.rs",
    "config.rs",
    "node.rs",
    "client.rs",
    "port.rs",
    "port_change.rs",
    "port_info.rs",
    "stats.rs",
    "message.rs",
];

/// Writes the header.
pub(crate) fn write() -> Result<(), String> {
    project::write(&path(), &generate()?)
}

/// Compares the header with what would be written.
pub(crate) fn check() -> Result<(), String> {
    let (path, expected) = (path(), generate()?);
    if project::read(&path)? == expected {
        return Ok(());
    }
    Err(format!("{} is not up to date: run `cargo xtask header`", path.display()))
}

fn path() -> PathBuf {
    project::top().join("include/cdps/cdps.h")
}

fn generate() -> Result<String, String> {
    let ffi = project::top().join("cdps-ffi");
    let mut config = Config::from_file(ffi.join("header/cbindgen.toml"))?;
    config.header = Some(with_version(&project::read(&ffi.join("header/top.h"))?)?);
    config.trailer = Some(project::read(&ffi.join("header/bottom.h"))?);
    let mut builder = Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(ffi.join("src").join(source));
    }
    let mut bytes = Vec::new();
    builder.generate().map_err(|e| format!("cbindgen: {e}"))?.write(&mut bytes);
    let mut text = String::from_utf8(bytes).map_err(|e| format!("cbindgen: {e}"))?;
    text.truncate(text.trim_end().len());
    text.push('\n');
    complete(&text)?;
    Ok(text)
}

/// cbindgen leaves out what it does not see (a function made by a macro, say) without a word: the list of symbols does not.
fn complete(header: &str) -> Result<(), String> {
    let listed = symbols::listed()?;
    match listed.iter().find(|symbol| !header.contains(&format!("{}(", symbol.name))) {
        None => Ok(()),
        Some(missing) => Err(format!("{} is listed but not declared", missing.name)),
    }
}

fn with_version(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = project::VERSION.split('.').collect();
    let [major, minor, patch] = parts[..] else { return Err(format!("version {}", project::VERSION)) };
    Ok(text.replace("@MAJOR@", major).replace("@MINOR@", minor).replace("@PATCH@", patch))
}
