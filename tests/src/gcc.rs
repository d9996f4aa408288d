//! The C library as it ships, and C programs made with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::project;

/// What C programs here are compiled with.
pub const STRICT: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Runs a command that must succeed.
///
/// # Panics
/// When it fails; the message has what it said.
pub fn must(command: &mut Command) -> Output {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?}: {}\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

/// Builds the shipped library, if it has changed, and gives its folder. `scratch` is cargo's folder for tests (`CARGO_TARGET_TMPDIR`).
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn library(scratch: &Path) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    must(Command::new(cargo).args(["xtask", "lib"]).current_dir(project()));
    scratch.parent().expect("below the target folder").join("lib")
}

/// Compiles tests/c/NAME.c against the library in this folder, into `scratch`.
///
/// # Panics
/// When gcc has anything to say.
#[must_use]
pub fn program(scratch: &Path, library: &Path, name: &str, variant: &str, flags: &[&str]) -> PathBuf {
    let source = project().join("tests/c").join(format!("{name}.c"));
    compiled(&source, &scratch.join(format!("{name}{variant}")), library, flags)
}

/// Compiles a C program against the library in this folder; gives `built`.
///
/// # Panics
/// When gcc has anything to say.
#[must_use]
pub fn compiled(source: &Path, built: &Path, library: &Path, flags: &[&str]) -> PathBuf {
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-D_GNU_SOURCE", "-g"]).args(STRICT).args(flags);
    gcc.arg(source).arg("-o").arg(built).arg("-I").arg(project().join("include")).arg("-L").arg(library);
    gcc.arg(format!("-Wl,-rpath,{}", library.display())).args(["-lcdps", "-pthread"]);
    must(&mut gcc);
    built.to_owned()
}
