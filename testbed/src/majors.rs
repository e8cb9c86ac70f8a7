//! One PostgreSQL installation per major, each a private one that the extension may be put into.
//!
//! | major | server | headers |
//! |---|---|---|
//! | any that `PGMIG_PG_CONFIG_17=/path/to/pg_config` (of 17) names | a private copy of it; where a copy would not find its libraries, the server itself, and the extension is installed into it | its own, else as below |
//! | any that the distribution has installed | a private copy of it | its own, else as below |
//! | 13 to 18 | an npm package that holds a whole relocatable installation | 13, 15, 17: a Debian package; 16, 18: a Python wheel |
//!
//! No registry has headers for 14. pgrx ships bindings that were made from 14.23, and they are used
//! wherever headers are not to be had, which is always said aloud. What is gated on pgrx's feature
//! `cshim` does not exist then: a library that uses it would not load.
//!
//! On a machine that is not Debian, name a server for each major that is to be tested, with its
//! headers. Wanted of that machine are also libclang (`LIBCLANG_PATH` where it is not below
//! /usr/lib), psql, Python with pip, and for the tests of aiven_extras psycopg2.

use crate::command::output;
use crate::fetch;
use crate::layout::Layout;
use crate::pg_config;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::env;
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
    Named(Install),
    Distribution { version: String },
    Npm { version: &'static str },
}

impl Server {
    fn of(major: u16) -> Result<Server> {
        if let Some(install) = named(major)? {
            return Ok(Server::Named(install));
        }
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
            Server::Named(install) => {
                &format!("{} of {}", install.version, install.pg_config.display())
            }
            Server::Distribution { version } => version,
            Server::Npm { version } => *version,
        };
        format!("{origin} in {}\n", home.display())
    }
}

/// The server that the environment names for a major.
pub(crate) fn named(major: u16) -> Result<Option<Install>> {
    let variable = format!("PGMIG_PG_CONFIG_{major}");
    let Some(pg_config) = env::var_os(&variable) else { return Ok(None) };
    let install = Install::from_pg_config(Path::new(&pg_config)).context(variable.clone())?;
    ensure!(
        install.major == major,
        "{variable} names the pg_config of {}, which is not major {major}",
        install.version
    );
    Ok(Some(install))
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
        Server::Named(install) => copy_or_original(install, staging.path())?,
        Server::Distribution { version } => copy(&distribution(major, version), staging.path())?,
        Server::Npm { .. } => fetch::npm_server(major, staging.path())?,
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
            // Joining an absolute path gives that path.
            bindir: home.join(layout.bindir),
            pkglibdir: home.join(layout.pkglibdir),
            sharedir: home.join(layout.sharedir),
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

/// Debian's layout.
fn distribution(major: u16, version: &str) -> Layout {
    Layout {
        version: pg_config::version_of_server(version),
        bindir: distribution_bindir(major),
        pkglibdir: format!("/usr/lib/postgresql/{major}/lib").into(),
        sharedir: format!("/usr/share/postgresql/{major}").into(),
    }
}

fn copy_or_original(install: &Install, root: &Path) -> Result<Layout> {
    let original = Layout {
        version: install.version.clone(),
        bindir: install.bindir.clone(),
        pkglibdir: install.pkglibdir.clone(),
        sharedir: install.sharedir.clone(),
    };
    let copy = copy(&original, root)?;
    let programs = [copy.bindir.join("postgres"), copy.pkglibdir.join("libpqwalreceiver.so")];
    if programs.iter().all(|program| finds_its_libraries(&root.join(program))) {
        return Ok(copy);
    }
    eprintln!(
        "WARNING: a copy of {} would not find its libraries. \
         The extension is installed into the server itself, in {} and {}.",
        original.version,
        original.pkglibdir.display(),
        original.sharedir.display()
    );
    Ok(original)
}

fn finds_its_libraries(program: &Path) -> bool {
    output(Command::new("ldd").arg(program)).is_ok_and(|libraries| !libraries.contains("not found"))
}

/// A server finds its files relative to its own place (port/path.c), so a copy that keeps the layout
/// below another root is an installation of its own, and the real one stays untouched.
fn copy(original: &Layout, root: &Path) -> Result<Layout> {
    for folder in [&original.bindir, &original.pkglibdir, &original.sharedir] {
        let to = root.join(relative(folder));
        fs::create_dir_all(&to)?;
        output(Command::new("cp").arg("-a").arg(folder.join(".")).arg(to))?;
    }
    Ok(Layout {
        version: original.version.clone(),
        bindir: relative(&original.bindir),
        pkglibdir: relative(&original.pkglibdir),
        sharedir: relative(&original.sharedir),
    })
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// The folder of the server's headers: absolute, or relative to the installation's root.
fn headers(major: u16, server: &Server, root: &Path) -> Result<PathBuf> {
    let installed = match server {
        Server::Named(install) => Some(install.includedir_server.clone()),
        Server::Distribution { .. } => {
            Some(format!("/usr/include/postgresql/{major}/server").into())
        }
        Server::Npm { .. } => None,
    };
    match installed.filter(|folder| folder.join("postgres.h").is_file()) {
        Some(folder) => Ok(folder),
        None => fetch::headers(major, root),
    }
}
