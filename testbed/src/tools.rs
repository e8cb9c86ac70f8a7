//! Client programs.

use crate::apt;
use crate::command;
use crate::fetch;
use crate::majors::{MAJORS, named};
use crate::workspace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// psql of the machine: the only client here that speaks TLS.
pub fn psql() -> Result<PathBuf> {
    apt::require_that(|| newest_psql().is_some(), "postgresql-client")?;
    newest_psql().context("psql vanished")
}

fn newest_psql() -> Option<PathBuf> {
    let newest = of_machine("psql").pop_last().map(|(_, program)| program);
    newest.or_else(|| command::find("psql").filter(|_| command::find("apt-get").is_none()))
}

/// Python with psycopg2, both of the distribution: what clients of aiven_extras are written in.
pub fn python_with_psycopg2() -> Result<Command> {
    const PYTHON: &str = "/usr/bin/python3";
    let has_psycopg2 = || {
        let mut python = Command::new(PYTHON);
        python.args(["-c", "import psycopg2"]).stderr(Stdio::null());
        python.status().is_ok_and(|status| status.success())
    };
    apt::require_that(has_psycopg2, "python3-psycopg2")?;
    Ok(Command::new(PYTHON))
}

/// The library of pgextwlist, which lets roles that are no superusers create the extensions that its
/// setting lists. For 15 only: there is no package of Debian for the others that runs here.
pub fn pgextwlist() -> Result<PathBuf> {
    let home = workspace::pg_dir().join("pgextwlist");
    let library = home.join("usr/lib/postgresql/15/lib/pgextwlist.so");
    let _lock = workspace::lock("pgextwlist")?;
    if !library.exists() {
        apt::unpack("bookworm", "postgresql-15-pgextwlist", &home)?;
    }
    Ok(library)
}

pub fn pgbench() -> Result<PathBuf> {
    Ok(fetch::wheel()?.join("pginstall18/bin/pgbench"))
}

/// The oldest pg_dump that reads servers of `major`: what a newer one writes may use settings that
/// the target does not know yet.
///
/// The distribution's goes first: its server may give columns an option (`pg_attver`, seen in 15.20)
/// that the older releases of the wheel do not know to leave out.
pub fn pg_dump(major: u16) -> Result<PathBuf> {
    oldest("pg_dump", major)
}

/// The oldest pg_basebackup that copies servers of `major`.
pub fn pg_basebackup(major: u16) -> Result<PathBuf> {
    oldest("pg_basebackup", major)
}

/// Such programs work with servers of their own major and of older ones.
fn oldest(program: &str, major: u16) -> Result<PathBuf> {
    let wheel = fetch::wheel()?;
    let mut by_major = BTreeMap::from([
        (16, wheel.join("pginstall/bin").join(program)),
        (18, wheel.join("pginstall18/bin").join(program)),
    ]);
    by_major.append(&mut of_machine(program));
    let (_, oldest) = by_major
        .range(major..)
        .next()
        .with_context(|| format!("no {program} here works with servers of PostgreSQL {major}"))?;
    Ok(oldest.clone())
}

/// By major. Debian keeps the programs of each one apart; /usr/bin has a wrapper that needs a
/// cluster. Servers that the environment names go first.
fn of_machine(program: &str) -> BTreeMap<u16, PathBuf> {
    let listed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = listed.filter_map(|entry| {
        Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
    });
    let named = MAJORS.into_iter().filter_map(|major| Some((major, named(major).ok()??.bindir)));
    installed
        .chain(named)
        .map(|(major, folder)| (major, folder.join(program)))
        .filter(|(_, path)| path.is_file())
        .collect()
}
