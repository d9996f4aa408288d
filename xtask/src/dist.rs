//! The layout of an installation.

use std::path::{Path, PathBuf};

use crate::library::{self, Profile};
use crate::project;

/// Where an installation goes.
pub(crate) struct Layout {
    prefix: PathBuf,
    libdir: PathBuf,
    destdir: PathBuf,
}

impl Layout {
    pub(crate) fn new(prefix: PathBuf, libdir: PathBuf, destdir: PathBuf) -> Result<Layout, String> {
        if !prefix.is_absolute() || !destdir.is_absolute() || libdir.is_absolute() {
            return Err("--prefix and --destdir are absolute, --libdir is below the prefix".to_owned());
        }
        Ok(Layout { prefix, libdir, destdir })
    }

    /// Where a place of the installed system is while it is laid out.
    fn staged(&self, below: &Path) -> PathBuf {
        let full = self.prefix.join(below);
        self.destdir.join(full.strip_prefix("/").unwrap_or(&full))
    }
}

/// Builds the library and copies what programs need to be compiled and run.
pub(crate) fn install(layout: &Layout) -> Result<(), String> {
    let built = library::build(Profile::Release)?;
    let libdir = layout.staged(&layout.libdir);
    for file in [&built.shared, &built.archive] {
        let name = file.file_name().ok_or("a library has a name")?;
        library::copy(file, &libdir.join(name))?;
    }
    for (name, to) in built.links() {
        library::relink(&libdir.join(name), &to)?;
    }
    let header = Path::new("include/cdps/cdps.h");
    library::copy(&project::top().join(header), &layout.staged(header))?;
    // Relative to the file itself, so that the tree can be moved.
    let up = "/..".repeat(layout.libdir.components().count() + 1);
    let libdir_text = format!("${{prefix}}/{}", layout.libdir.display());
    let text = library::pkg_config(&format!("${{pcfiledir}}{up}"), &libdir_text, "${prefix}/include")?;
    project::write(&libdir.join("pkgconfig/cdps.pc"), &text)
}
