//! Where things are: the workspace's root, Cargo's target directory, and what we keep there.

use anyhow::{Context, Result};
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testbed is a folder of the workspace")
}

pub fn target_dir() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The folder of everything that was fetched or made.
pub fn pg_dir() -> PathBuf {
    target_dir().join("pg")
}

/// Keeps other processes, and other threads of this one, out of `name` until the file is dropped.
pub fn lock(name: &str) -> Result<File> {
    let path = pg_dir().join(format!("{name}.lock"));
    fs::create_dir_all(pg_dir())?;
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock()?;
    Ok(file)
}
