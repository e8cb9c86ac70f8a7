//! Building the extension for one major and putting it into an installation.
//!
//! Without cargo-pgrx: the SQL is written by hand, so there is nothing for it to generate, and the
//! linker flag that it adds would make every plain `cargo` command compile everything again.

use crate::apt;
use crate::command::run;
use crate::majors::Install;
use crate::workspace;
use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIBRARY: &str = "pgmig_extras";
/// The optional extension on the same library.
const AIVEN_EXTRAS: &str = "aiven_extras";

/// Cargo decides whether there is anything to compile; files that are the same stay untouched.
pub fn build_and_install(install: &Install, release: bool) -> Result<()> {
    let _lock = workspace::lock("build")?;
    let library = build(install, release)?;
    install_file(&library, &install.pkglibdir.join(format!("{LIBRARY}.so")))?;
    install_extension(install, LIBRARY, workspace::root())
}

/// For an installation that has the library already. Replaces the files of the original.
pub fn install_aiven_extras(install: &Install) -> Result<()> {
    let _lock = workspace::lock("build")?;
    // Not beside the other control file: cargo-pgrx takes the first that it finds there.
    install_extension(install, AIVEN_EXTRAS, &workspace::root().join("sql"))
}

/// The extension's control file, which stands in `folder`, and its SQL files.
fn install_extension(install: &Install, extension: &str, folder: &Path) -> Result<()> {
    let control = format!("{extension}.control");
    let mut files = vec![(folder.join(&control), control)];
    files.extend(sql_files(extension)?);
    for (from, name) in files {
        install_file(&from, &install.sharedir.join("extension").join(name))?;
    }
    Ok(())
}

fn build(install: &Install, release: bool) -> Result<PathBuf> {
    let mut cargo = cargo_for(install)?;
    cargo.args(["build", "--quiet", "--lib", "--package", LIBRARY, "--no-default-features"]);
    cargo.args(["--features", &format!("pg{}", install.major)]);
    if release {
        cargo.arg("--release");
    }
    run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(workspace::target_dir().join(profile).join(format!("lib{LIBRARY}.so")))
}

/// Cargo at the root of the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root());
    cargo
}

/// A cargo command whose pgrx finds this installation. One path per major, always the same:
/// pgrx is compiled anew when it changes.
pub fn cargo_for(install: &Install) -> Result<Command> {
    let mut cargo = cargo();
    cargo.env("PGRX_PG_CONFIG_PATH", &install.pg_config);
    if install.has_headers() {
        require_libclang()?;
    } else {
        cargo.env("RUSTC_WRAPPER", shipped_bindings_wrapper()?);
        // Tells pgrx's build script that there is nothing to generate.
        cargo.env("DOCS_RS", "1");
    }
    Ok(cargo)
}

/// pgrx-pg-sys takes the bindings that it ships when it is compiled with `--cfg docsrs`. Cargo
/// has no way to say that of one crate; said of all it would compile all of them again.
fn shipped_bindings_wrapper() -> Result<PathBuf> {
    const SCRIPT: &str = "#!/bin/sh\n\
        case \" $* \" in\n\
        *' --crate-name pgrx_pg_sys '*) exec \"$@\" --cfg docsrs ;;\n\
        *) exec \"$@\" ;;\n\
        esac\n";
    let path = workspace::pg_dir().join("rustc-with-shipped-bindings");
    if fs::read_to_string(&path).ok().as_deref() != Some(SCRIPT) {
        fs::write(&path, SCRIPT)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(path)
}

/// bindgen, which pgrx makes its bindings with, needs libclang and clang's own headers.
fn require_libclang() -> Result<()> {
    // Debian keeps each LLVM in a folder of its own.
    let has_libclang = || {
        let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        libraries.map(|entry| entry.path().join("lib/libclang.so")).any(|file| file.exists())
    };
    apt::require_that(|| env::var_os("LIBCLANG_PATH").is_some() || has_libclang(), "libclang-dev")
}

fn sql_files(extension: &str) -> Result<Vec<(PathBuf, String)>> {
    let folder = workspace::root().join("sql");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{extension}--")) && name.ends_with(".sql") {
            files.push((entry.path(), name));
        }
    }
    Ok(files)
}

/// Always by a new file in place of the old one: a server that has the old library mapped would
/// crash if its content changed.
fn install_file(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let folder = to.parent().context("an installed file stands in a folder")?;
    let Ok(mut file) = tempfile::NamedTempFile::new_in(folder) else {
        // `install` unlinks the old file first.
        return run(apt::privileged("install").args(["-m", "644"]).arg(from).arg(to));
    };
    std::io::Write::write_all(&mut file, &new)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_file_is_replaced_and_never_rewritten_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "old").unwrap();
        install_file(&from, &to).unwrap();
        let mapped_by_a_server = fs::File::open(&to).unwrap();
        fs::write(&from, "new").unwrap();
        install_file(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert_eq!(std::io::read_to_string(mapped_by_a_server).unwrap(), "old");
    }

    #[test]
    fn a_file_that_is_the_same_is_left_alone() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "same").unwrap();
        install_file(&from, &to).unwrap();
        let inode = fs::metadata(&to).unwrap().ino();
        install_file(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().ino(), inode);
    }
}
