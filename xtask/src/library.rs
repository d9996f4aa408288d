//! libcdps.so and libcdps.a.
//!
//! The shared library is linked here, by gcc, from the static one: rustc links a cdylib with a version script of its own, beside which ours
//! would version nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{self, VERSION};
use crate::symbols;

/// What the static library needs from the system. `-z defs` finds out if it is not all.
pub(crate) const SYSTEM_LIBRARIES: &[&str] =
    &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];

/// Changes only when programs must be compiled again; apart from the version.
const SONAME: &str = "libcdps.so.0";

#[derive(Clone, Copy)]
pub(crate) enum Profile {
    Release,
    Debug,
}

/// What was built.
pub(crate) struct Built {
    /// libcdps.so.0.1.0
    pub(crate) shared: PathBuf,
    pub(crate) archive: PathBuf,
}

impl Built {
    /// Names beside the shared library, and what they point to.
    pub(crate) fn links(&self) -> [(&'static str, String); 2] {
        [(SONAME, format!("libcdps.so.{VERSION}")), ("libcdps.so", SONAME.to_owned())]
    }
}

/// Builds everything into one folder below cargo's.
pub(crate) fn build(profile: Profile) -> Result<Built, String> {
    let target = project::target()?;
    let (flags, built_in, folder): (&[&str], _, _) = match profile {
        Profile::Release => (&["--release"], "release", "lib"),
        Profile::Debug => (&[], "debug", "lib-debug"),
    };
    let mut cargo = project::cargo();
    cargo
        .args(["build", "--quiet", "--package", "cdps-ffi", "--lib"])
        .args(flags)
        .current_dir(project::top());
    project::run(&mut cargo)?;
    let folder = target.join(folder);
    let archive = target.join(built_in).join("libcdps_ffi.a");
    let built =
        Built { shared: folder.join(format!("libcdps.so.{VERSION}")), archive: folder.join("libcdps.a") };
    let listed = symbols::listed()?;
    let script = folder.join("libcdps.map");
    project::write(&script, &symbols::version_script(&listed))?;
    if newer(&archive, &built.shared) || newer(&script, &built.shared) {
        copy(&archive, &built.archive)?;
        link(&built, &script, &listed)?;
    }
    for (name, to) in built.links() {
        relink(&folder.join(name), &to)?;
    }
    project::write(&folder.join("cdps.pc"), &uninstalled(&folder)?)?;
    Ok(built)
}

fn link(built: &Built, script: &Path, listed: &[symbols::Symbol]) -> Result<(), String> {
    // Under another name first: a program that runs with the former library keeps it.
    let fresh = built.shared.with_extension("new");
    let mut gcc = Command::new("gcc");
    gcc.arg("-shared").arg("-o").arg(&fresh);
    gcc.args(listed.iter().map(|symbol| format!("-Wl,-u,{}", symbol.name)));
    gcc.arg(&built.archive);
    gcc.arg(format!("-Wl,--version-script={}", script.display()));
    gcc.arg(format!("-Wl,-soname,{SONAME}"));
    gcc.args(["-Wl,--gc-sections", "-Wl,-z,defs", "-Wl,-z,relro", "-Wl,-z,now"]);
    // Threads and thread-local destructors outlive dlclose().
    gcc.args(["-Wl,-z,nodelete", "-Wl,--as-needed"]).args(SYSTEM_LIBRARIES);
    project::run(&mut gcc)?;
    fs::rename(&fresh, &built.shared).map_err(|e| format!("{}: {e}", built.shared.display()))
}

/// For programs that are built against the build tree.
fn uninstalled(folder: &Path) -> Result<String, String> {
    let include = project::top().join("include");
    let (lib, include) = (folder.display().to_string(), include.display().to_string());
    pkg_config(&lib, &lib, &include)
}

/// The pkg-config file, from its template.
pub(crate) fn pkg_config(prefix: &str, libdir: &str, includedir: &str) -> Result<String, String> {
    let template = project::read(&project::top().join("bindings/cdps.pc.in"))?;
    Ok(template
        .replace("@PREFIX@", prefix)
        .replace("@LIBDIR@", libdir)
        .replace("@INCLUDEDIR@", includedir)
        .replace("@VERSION@", VERSION)
        .replace("@PRIVATE@", &SYSTEM_LIBRARIES.join(" ")))
}

fn newer(source: &Path, made: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    time(made).is_none_or(|made| time(source).is_none_or(|source| source > made))
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    // Not over a library that a running program has mapped.
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).and_then(|_| fs::rename(&fresh, to)).map_err(|e| format!("{}: {e}", to.display()))
}

pub(crate) fn relink(at: &Path, to: &str) -> Result<(), String> {
    if fs::read_link(at).is_ok_and(|present| present == Path::new(to)) {
        return Ok(());
    }
    let _ = fs::remove_file(at);
    symlink(to, at).map_err(|e| format!("{}: {e}", at.display()))
}
