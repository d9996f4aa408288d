//! Steps that cargo has no word for: `cargo xtask header | lib | dist | coverage`.

mod coverage;
mod dist;
mod header;
mod library;
mod project;
mod symbols;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask header [--check]
    Writes include/cdps/cdps.h from the sources of cdps-ffi; with --check, says whether it is up to date.
cargo xtask lib [--debug]
    Builds the shipped library into TARGET/lib (with --debug: TARGET/lib-debug): libcdps.so.0.1.0 with its links, libcdps.a, cdps.pc.
cargo xtask dist --prefix DIR [--libdir DIR] [--destdir DIR]
    Builds the library and lays out an installation below DESTDIR/PREFIX. --libdir is below the prefix: lib, lib/x86_64-linux-gnu ...
cargo xtask coverage --seeds N
    Runs the simulator, and says which lines of cdps-core it has run. Needs rustup's component llvm-tools.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["header"] => header::write(),
        ["header", "--check"] => header::check(),
        ["lib"] => library::build(library::Profile::Release).map(drop),
        ["lib", "--debug"] => library::build(library::Profile::Debug).map(drop),
        ["coverage", "--seeds", seeds] => coverage::report(seeds),
        ["dist", options @ ..] => dist::install(&layout(options)?),
        _ => Err(format!("what is to be done?\n{HELP}")),
    }
}

fn layout(options: &[&str]) -> Result<dist::Layout, String> {
    let (mut prefix, mut libdir, mut destdir) = (None, PathBuf::from("lib"), PathBuf::from("/"));
    let mut rest = options.iter();
    while let Some(name) = rest.next() {
        let value = PathBuf::from(rest.next().ok_or_else(|| format!("{name} needs a value"))?);
        match *name {
            "--prefix" => prefix = Some(value),
            "--libdir" => libdir = value,
            "--destdir" => destdir = value,
            other => return Err(format!("{other} is not known\n{HELP}")),
        }
    }
    let prefix = prefix.ok_or("dist needs --prefix")?;
    dist::Layout::new(prefix, libdir, destdir)
}
