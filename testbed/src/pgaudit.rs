//! pgaudit in an installation, for the majors that a suite of Debian has it for.

use crate::apt;
use crate::majors::Install;
use crate::workspace;
use anyhow::{Context, Result};
use std::fs;

/// Puts the library there; false where no package has it.
pub fn install(install: &Install) -> Result<bool> {
    let Some(suite) = suite(install.major) else { return Ok(false) };
    let library = install.pkglibdir.join("pgaudit.so");
    if library.is_file() {
        return Ok(true);
    }
    let _lock = workspace::lock("pgaudit")?;
    let unpacked = tempfile::tempdir_in(workspace::pg_dir())?;
    let major = install.major;
    apt::unpack(suite, &format!("postgresql-{major}-pgaudit"), unpacked.path())?;
    let from = unpacked.path().join(format!("usr/lib/postgresql/{major}/lib/pgaudit.so"));
    fs::copy(&from, &library).with_context(|| format!("the package of {suite} has no {from:?}"))?;
    Ok(true)
}

fn suite(major: u16) -> Option<&'static str> {
    match major {
        13 => Some("bullseye"),
        15 => Some("bookworm"),
        17 => Some("trixie"),
        _ => None,
    }
}
