//! One PostgreSQL installation per major, each a private one that the extension may be put into.
//!
//! | major | server | headers |
//! |---|---|---|
//! | any that the distribution has installed | a private copy of it | its own, else as below |
//! | 13 to 18 | an npm package that holds a whole relocatable installation | 13, 15, 17: a Debian package; 16, 18: a Python wheel |
//!
//! No registry has headers for 14. pgrx ships bindings that were made from 14.23, and they are used
//! wherever headers are not to be had, which is always said aloud. What is gated on pgrx's feature
//! `cshim` does not exist then: a library that uses it would not load.

use crate::command::output;
use crate::fetch;
use crate::layout::Layout;
use crate::pg_config;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const MAJORS: [u16; 6] = [13, 14, 15, 16, 17, 18];

/// A PostgreSQL installation, as its pg_config describes it.
#[derive(Debug, Clone)]
pub struct Install {
    pub major: u16,
    /// As `pg_config --version` prints it.
    pub version: String,
    pub pg_config: PathBuf,
    pub bindir: PathBuf,
    pub pkglibdir: PathBuf,
    pub sharedir: PathBuf,
    pub includedir_server: PathBuf,
}

impl Install {
    pub fn from_pg_config(pg_config: &Path) -> Result<Install> {
        let answers = output(&mut Command::new(pg_config))?;
        let answer = |name| pg_config::answer(&answers, name);
        let version = answer("VERSION")?;
        Ok(Install {
            major: pg_config::major(&version)?,
            version,
            pg_config: pg_config.to_owned(),
            bindir: answer("BINDIR")?.into(),
            pkglibdir: answer("PKGLIBDIR")?.into(),
            sharedir: answer("SHAREDIR")?.into(),
            includedir_server: answer("INCLUDEDIR-SERVER")?.into(),
        })
    }

    pub fn has_headers(&self) -> bool {
        self.includedir_server.join("postgres.h").is_file()
    }
}

/// The private installation of a major; fetched when it is missing, a few milliseconds when not.
pub fn prepare(major: u16) -> Result<Install> {
    ensure!(MAJORS.contains(&major), "PostgreSQL {major} is not one of {MAJORS:?}");
    let home = workspace::pg_dir().join(major.to_string());
    let server = Server::of(major)?;
    let stamp = server.stamp(&home);
    let is_there = || fs::read_to_string(home.join("stamp")).is_ok_and(|found| found == stamp);
    if !is_there() {
        let _lock = workspace::lock(&format!("prepare-{major}"))?;
        if !is_there() {
            assemble(major, &server, &home, &stamp)
                .with_context(|| format!("cannot prepare PostgreSQL {major}"))?;
        }
    }
    Install::from_pg_config(&home.join("pg_config"))
}

/// Where a major's server comes from.
enum Server {
    Distribution { version: String },
    Npm { version: &'static str },
}

impl Server {
    fn of(major: u16) -> Result<Server> {
        let postgres = distribution_bindir(major).join("postgres");
        if postgres.is_file() {
            let version = output(Command::new(postgres).arg("--version"))?;
            return Ok(Server::Distribution { version: version.trim().to_owned() });
        }
        Ok(Server::Npm { version: fetch::npm_version(major) })
    }

    /// What an installation was made from, and where: its pg_config holds absolute paths.
    fn stamp(&self, home: &Path) -> String {
        let origin = match self {
            Server::Distribution { version } => version,
            Server::Npm { version } => *version,
        };
        format!("{origin} in {}\n", home.display())
    }
}

fn distribution_bindir(major: u16) -> PathBuf {
    format!("/usr/lib/postgresql/{major}/bin").into()
}

/// Puts an installation together beside its final place, then moves it there in one step.
fn assemble(major: u16, server: &Server, home: &Path, stamp: &str) -> Result<()> {
    let staging = tempfile::tempdir_in(workspace::pg_dir())?;
    // The account that servers run under has to get in.
    fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755))?;
    let layout = match server {
        Server::Distribution { .. } => copy_of_distribution(major, staging.path())?,
        Server::Npm { version } => fetch::npm_server(version, staging.path())?,
    };
    let headers = headers(major, server, staging.path());
    if let Err(error) = &headers {
        eprintln!(
            "WARNING: no server headers for PostgreSQL {major}: {error:#}. \
             The extension is built there with the bindings that pgrx ships."
        );
    }
    pg_config::write(
        &staging.path().join("pg_config"),
        &pg_config::Answers {
            version: layout.version,
            bindir: home.join(layout.bindir),
            pkglibdir: home.join(layout.pkglibdir),
            sharedir: home.join(layout.sharedir),
            // Joining an absolute path gives that path.
            includedir_server: home.join(headers.unwrap_or_else(|_| "no-headers".into())),
        },
    )?;
    fs::write(staging.path().join("stamp"), stamp)?;
    if home.exists() {
        fs::remove_dir_all(home)?;
    }
    fs::rename(staging.keep(), home)?;
    Ok(())
}

/// A server finds its files relative to its own place, so a copy that keeps Debian's layout below
/// another root is an installation of its own, and the real one stays untouched.
fn copy_of_distribution(major: u16, root: &Path) -> Result<Layout> {
    let lib = PathBuf::from(format!("usr/lib/postgresql/{major}"));
    let share = PathBuf::from(format!("usr/share/postgresql/{major}"));
    for folder in [&lib, &share] {
        let parent = root.join(folder.parent().expect("the folders are deep"));
        fs::create_dir_all(&parent)?;
        output(Command::new("cp").arg("-a").arg(Path::new("/").join(folder)).arg(parent))?;
    }
    let version = output(Command::new(root.join(&lib).join("bin/postgres")).arg("--version"))?;
    Ok(Layout {
        version: pg_config::version_of_server(&version),
        bindir: lib.join("bin"),
        pkglibdir: lib.join("lib"),
        sharedir: share,
    })
}

/// The folder of the server's headers: absolute, or relative to the installation's root.
fn headers(major: u16, server: &Server, root: &Path) -> Result<PathBuf> {
    if let Server::Distribution { .. } = server {
        let installed = PathBuf::from(format!("/usr/include/postgresql/{major}/server"));
        if installed.join("postgres.h").is_file() {
            return Ok(installed);
        }
    }
    fetch::headers(major, root)
}
