//! Which lines of the engine the simulator reaches, and which it does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project;

/// Of one file: how often each line that has code was run.
type Lines = BTreeMap<u32, u64>;

/// Builds the simulator with counters, runs it, prints a table, and writes the lines that were not run to TARGET/coverage/missed.txt.
pub(crate) fn report(seeds: &str) -> Result<(), String> {
    let rustc = || Command::new("rustc");
    let about = project::output(rustc().arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    let libraries = project::output(rustc().args(["--print", "target-libdir"]))?;
    let tools = Path::new(libraries.trim()).with_file_name("bin");
    let folder = project::target()?.join("coverage");
    let simulator = build(&folder, host)?;

    let raw = folder.join("raw");
    if raw.exists() {
        fs::remove_dir_all(&raw).map_err(|e| format!("{}: {e}", raw.display()))?;
    }
    for arguments in [["--seeds", seeds].as_slice(), &["--hour", "--seeds", "2", "--start", "2"]] {
        let profile = raw.join("%p.profraw");
        project::run(Command::new(&simulator).args(arguments).env("LLVM_PROFILE_FILE", profile))?;
    }

    let merged = folder.join("simulator.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    project::run(merge.args(["merge", "--sparse", "--output"]).arg(&merged).arg(&raw))?;
    let engine = project::top().join("cdps-core/src");
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "--format=lcov", "--skip-functions", "--instr-profile"]).arg(&merged);
    let files = parse(&project::output(export.arg(&simulator).arg("--sources").arg(&engine))?)?;

    let missed = folder.join("missed.txt");
    project::write(&missed, &missed_lines(&engine, &files)?)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\nwhat was missed: {}", table(&engine, &files), missed.display())
        .map_err(|e| e.to_string())
}

/// The simulator, with counters in it.
fn build(folder: &Path, host: &str) -> Result<PathBuf, String> {
    let mut cargo = project::cargo();
    // With a target named, what runs during the build has no counters. In one unit per crate no function is left out for being unused.
    cargo.args(["build", "--release", "--quiet", "--package", "cdps-sim", "--target", host]);
    cargo.arg("--target-dir").arg(folder).env("RUSTFLAGS", "-Cinstrument-coverage");
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    project::run(cargo.current_dir(project::top()))?;
    Ok(folder.join(host).join("release/cdps-sim"))
}

/// Reads what llvm-cov exports: `SF:` begins a file, `DA:` is a line and how often it was run.
fn parse(lcov: &str) -> Result<BTreeMap<PathBuf, Lines>, String> {
    let mut files: BTreeMap<PathBuf, Lines> = BTreeMap::new();
    let mut file = PathBuf::new();
    for text in lcov.lines() {
        if let Some(path) = text.strip_prefix("SF:") {
            file = PathBuf::from(path);
        } else if let Some(data) = text.strip_prefix("DA:") {
            let mut numbers = data.split(',');
            let line = numbers.next().and_then(|n| n.parse::<u32>().ok());
            let count = numbers.next().and_then(|n| n.parse::<u64>().ok());
            let (Some(line), Some(count)) = (line, count) else {
                return Err(format!("llvm-cov says {text}"));
            };
            let known = files.entry(file.clone()).or_default().entry(line).or_insert(0);
            *known = count.max(*known);
        }
    }
    if files.is_empty() { Err("llvm-cov knows no file of the engine".to_owned()) } else { Ok(files) }
}

fn table(engine: &Path, files: &BTreeMap<PathBuf, Lines>) -> String {
    let mut text = format!("{:32} {:>6} {:>8} {:>7} {:>7}\n", "file", "lines", "covered", "missed", "%");
    let mut row = |name: &str, lines: usize, covered: usize| {
        let percent = 100.0 * covered as f64 / lines.max(1) as f64;
        let _ = writeln!(text, "{name:32} {lines:>6} {covered:>8} {:>7} {percent:>7.2}", lines - covered);
    };
    let mut sum = (0, 0);
    for (path, lines) in files {
        let covered = lines.values().filter(|count| **count > 0).count();
        row(&path.strip_prefix(engine).unwrap_or(path).to_string_lossy(), lines.len(), covered);
        sum = (sum.0 + lines.len(), sum.1 + covered);
    }
    row("all of cdps-core", sum.0, sum.1);
    text
}

/// The lines that were not run, as they stand in their files.
fn missed_lines(engine: &Path, files: &BTreeMap<PathBuf, Lines>) -> Result<String, String> {
    let mut text = String::new();
    for (path, lines) in files {
        let source = project::read(path)?;
        let source: Vec<&str> = source.lines().collect();
        let name = path.strip_prefix(engine).unwrap_or(path).display();
        for line in lines.iter().filter(|line| *line.1 == 0).map(|line| *line.0) {
            let _ = writeln!(text, "{name}:{line}: {}", source.get(line as usize - 1).unwrap_or(&""));
        }
    }
    Ok(text)
}
