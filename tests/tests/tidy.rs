//! Rules of the house that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cdps_tests::project;

/// Longest source file. Files that come near it have a second room in them.
const MAX_LINES: usize = 800;

/// What each manifest of the workspace may name, besides what is not ours. Arrows point down only.
const ARROWS: &[(&str, &[&str])] = &[
    ("cdps-core", &[]),
    ("cdps", &["cdps-core"]),
    ("cdps-sim", &["cdps-core"]),
    ("cdps-ffi", &["cdps"]),
    ("cdps-sys", &[]),
    ("cdps-python", &["cdps"]),
    ("cdps-bench", &["cdps-core"]),
    ("cdps-bench-quinn", &[]),
    ("xtask", &[]),
    ("cdps-tests", &["cdps-core", "cdps", "cdps-sim", "cdps-ffi", "cdps-sys"]),
];

/// The engine decides and does no I/O: nothing of others but this.
const CORE_MAY_USE: &[&str] = &["thiserror"];

fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(project()).output();
    match listed {
        Ok(out) if out.status.success() => {
            let names = String::from_utf8(out.stdout).expect("names in UTF-8");
            names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect()
        }
        // An unpacked archive has no git; its files are all there is.
        _ => walk(&project()),
    }
}

fn walk(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![top.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != ".git" && name != ".venv" {
                todo.push(path);
            } else if path.is_file() {
                found.push(path.strip_prefix(top).expect("below the top").to_path_buf());
            }
        }
    }
    found
}

/// Path and text of every tracked file that is text and still there.
fn texts(wanted: impl Fn(&Path) -> bool) -> Vec<(PathBuf, String)> {
    tracked()
        .into_iter()
        .filter(|path| wanted(path))
        .filter_map(|path| std::fs::read_to_string(project().join(&path)).ok().map(|text| (path, text)))
        .collect()
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|e| e.to_str()).unwrap_or("")
}

#[derive(Default, Debug)]
struct Manifest {
    name: String,
    /// Ordinary and build dependencies.
    ships: BTreeSet<String>,
    /// Dependencies of its tests.
    tests: BTreeSet<String>,
}

/// The parts of a manifest that arrows are made of.
fn manifest(text: &str) -> Manifest {
    let mut found = Manifest::default();
    let mut section = String::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or("").trim()) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_owned();
            for (table, kind) in [("dependencies.", 0), ("build-dependencies.", 0), ("dev-dependencies.", 1)]
            {
                if let Some((before, name)) = section.rsplit_once(table)
                    && (before.is_empty() || before.ends_with('.'))
                {
                    let name = name.trim_matches('"').to_owned();
                    if kind == 0 {
                        found.ships.insert(name)
                    } else {
                        found.tests.insert(name)
                    };
                }
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        // `name.workspace = true` and `name = { … }` alike; a renamed package goes by its real name.
        let key = key.trim().split('.').next().unwrap_or("").trim_matches('"');
        let renamed = value.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
        let dependency = renamed.unwrap_or(key).to_owned();
        if section == "package" && key == "name" {
            found.name = value.trim().trim_matches('"').to_owned();
        } else if section.ends_with("dev-dependencies") {
            found.tests.insert(dependency);
        } else if section.ends_with("dependencies") && section != "workspace.dependencies" {
            found.ships.insert(dependency);
        }
    }
    found
}

#[test]
fn arrows_between_crates_point_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for (path, text) in texts(|path| path.file_name().is_some_and(|name| name == "Cargo.toml")) {
        let found = manifest(&text);
        // The workspace itself, and the fuzz targets, which live outside it.
        if found.name.is_empty() || path.components().any(|part| part.as_os_str() == "fuzz") {
            continue;
        }
        let may = allowed.get(found.name.as_str()).unwrap_or_else(|| {
            panic!("{}: crate {} is not in the table of arrows", path.display(), found.name)
        });
        for dependency in found.ships.iter().filter(|name| name.starts_with("cdps") || *name == "xtask") {
            assert!(
                may.contains(&dependency.as_str()),
                "{}: {} may not use {dependency}",
                path.display(),
                found.name
            );
        }
        if found.name == "cdps-core" {
            for dependency in &found.ships {
                assert!(CORE_MAY_USE.contains(&dependency.as_str()), "cdps-core may not use {dependency}");
            }
        }
        // The tests of a crate may look down as it does, and at the fixtures, not up.
        for dependency in found.tests.iter().filter(|name| name.starts_with("cdps")) {
            let below =
                may.contains(&dependency.as_str()) || dependency == "cdps-tests" || *dependency == found.name;
            assert!(below, "{}: the tests of {} may not use {dependency}", path.display(), found.name);
        }
        seen.insert(found.name);
    }
    for name in ["cdps-core", "cdps", "cdps-tests"] {
        assert!(seen.contains(name), "the manifest of {name} was not read: {seen:?}");
    }
}

#[test]
fn the_reader_of_manifests_sees_what_it_should() {
    let found = manifest(
        "[package]\nname = \"x\"\n[dependencies]\na.workspace = true # why\nb = { package = \"cdps\", version = \"1\" }\n\
         [dependencies.c]\nversion = \"1\"\n[dev-dependencies]\nd = \"1\"\n[target.'cfg(unix)'.dependencies]\ne = \"1\"\n\
         [build-dependencies]\nf = \"1\"\n[lints]\nworkspace = true\n",
    );
    assert_eq!(found.name, "x");
    assert_eq!(found.ships.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "c", "cdps", "e", "f"]);
    assert_eq!(found.tests.iter().map(String::as_str).collect::<Vec<_>>(), ["d"]);
}

#[test]
fn no_source_file_is_too_long() {
    let sources = ["rs", "c", "h", "hpp", "py", "go", "sh"];
    // The header is generated: as long as the interface is.
    let wanted = |path: &Path| sources.contains(&extension(path)) && !path.starts_with("include");
    let long: Vec<_> = texts(wanted)
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:?}");
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let vague = ["utils", "util", "common", "helpers", "helper", "misc"];
    let found: Vec<_> = tracked()
        .into_iter()
        .filter(|path| extension(path) == "rs")
        .filter(|path| {
            path.iter()
                .filter_map(|part| Path::new(part).file_stem())
                .any(|stem| vague.iter().any(|word| stem == *word))
        })
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn no_file_names_the_paths_of_one_machine() {
    // Put together here, so that this file does not contain what it looks for.
    let roots: Vec<String> =
        ["home", "root", "work", "Users"].iter().map(|name| format!("/{name}/")).collect();
    let extensions =
        ["rs", "c", "h", "hpp", "py", "toml", "md", "sh", "pc", "in", "cmake", "txt", "json", "pyi", ""];
    let mut found = Vec::new();
    for (path, text) in texts(|path| extensions.contains(&extension(path))) {
        for (number, line) in text.lines().enumerate() {
            // A path starts where a word does: what only ends in such a name, or follows a variable, is none of these.
            let hit = roots.iter().any(|root| {
                line.match_indices(root.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| {
                        c.is_alphanumeric() || matches!(c, '}' | '.' | '_' | '-' | ')' | '*')
                    })
                })
            });
            if hit {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_rust_file_with_unsafe_code_is_meant_to_have_it() {
    // Elsewhere the crates say forbid(unsafe_code), or have no need of it.
    let meant = [
        // The C interface, and what drives it in tests.
        "cdps-ffi/",
        "bindings/",
        "tests/tests/",
        "cdps/tests/",
        "cdps/examples/",
        // Clocks, thread masks and socket calls that std has not.
        "cdps/src/clock.rs",
        "cdps/src/timer.rs",
        "cdps/src/signal.rs",
        "cdps/src/threads.rs",
        "cdps/src/conn/socket.rs",
        "cdps/src/conn/control.rs",
        "cdps/src/conn/mod.rs",
        // Memory that the user lends, and memory that is read into before it is initialized.
        "cdps/src/payload.rs",
        "cdps/src/port.rs",
        "cdps/src/received.rs",
        "cdps/src/chunk",
        "cdps/src/conn/reader.rs",
    ];
    let word = ["unsafe", " {"].concat();
    let found: Vec<_> = texts(|path| extension(path) == "rs")
        .into_iter()
        .filter(|(path, _)| !meant.iter().any(|start| path.to_string_lossy().starts_with(start)))
        .filter(|(_, text)| {
            text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(&word))
        })
        .map(|(path, _)| path)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Row id and status, as docs/semantics.md has them.
fn rows() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(project().join("docs/semantics.md")).expect("docs/semantics.md");
    text.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let id = cells.next()?;
            let digits = id.strip_prefix(|c: char| c.is_ascii_uppercase())?;
            if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
                return None;
            }
            Some((id.to_owned(), cells.nth(1)?.to_owned()))
        })
        .collect()
}

/// The rows that the tests cite: `[M2]`, `[A1, A4]` and `[M1-M8]` anywhere in a file that holds tests.
fn cited() -> BTreeSet<String> {
    let holds_tests = |path: &Path, text: &str| {
        // This file speaks of citations; it cites nothing.
        if path.ends_with("tidy.rs") {
            return false;
        }
        let in_tests = path.iter().any(|part| part == "tests" || part == "tests.rs");
        in_tests || text.contains("#[test]") || path.starts_with("cdps-sim")
    };
    let kinds = ["rs", "c", "py"];
    let mut found = BTreeSet::new();
    for (path, text) in texts(|path| kinds.contains(&extension(path))) {
        if holds_tests(&path, &text) {
            for bracket in
                text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(inside, _)| inside)
            {
                found.extend(ids(bracket));
            }
        }
    }
    found
}

/// The ids in one pair of brackets; nothing if anything else is in there.
fn ids(bracket: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in bracket.split(',').map(str::trim) {
        let mut ends = part.split('-').map(|end| {
            let mut chars = end.chars();
            let letter = chars.next().filter(char::is_ascii_uppercase)?;
            chars.as_str().parse::<u32>().ok().map(|number| (letter, number))
        });
        match (ends.next().flatten(), ends.next()) {
            (Some((letter, number)), None) => found.push(format!("{letter}{number}")),
            (Some((letter, first)), Some(Some((same, last)))) if letter == same && first < last => {
                found.extend((first..=last).map(|number| format!("{letter}{number}")));
            }
            _ => return Vec::new(),
        }
    }
    found
}

#[test]
fn every_row_that_is_done_is_cited_by_a_test() {
    let rows = rows();
    assert!(rows.len() > 50, "docs/semantics.md was not understood: {} rows", rows.len());
    let distinct: BTreeSet<_> = rows.iter().map(|row| &row.0).collect();
    assert_eq!(distinct.len(), rows.len(), "a row appears twice");
    let cited = cited();
    let mut missing = Vec::new();
    for (id, status) in &rows {
        match status.as_str() {
            "done" if !cited.contains(id) => missing.push(id),
            "done" | "in progress" | "later" => {}
            other => panic!("row {id} has the status {other:?}"),
        }
    }
    assert!(missing.is_empty(), "done, but no test cites them: {missing:?}");
    let unknown: Vec<_> = cited.iter().filter(|id| !distinct.contains(id)).collect();
    assert!(unknown.is_empty(), "tests cite rows that docs/semantics.md does not have: {unknown:?}");
}

#[test]
fn citations_are_read_as_meant() {
    assert_eq!(ids("M2"), ["M2"]);
    assert_eq!(ids("A1, A4"), ["A1", "A4"]);
    assert_eq!(ids("M1-M3"), ["M1", "M2", "M3"]);
    assert_eq!(ids("F32"), ["F32"]);
    assert!(ids("0; 4").is_empty() && ids("a, b").is_empty() && ids("cfg(test)").is_empty());
}
