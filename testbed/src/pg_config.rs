//! pg_config: reading what one says, and writing one for an installation that was moved.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What pgrx and we ask a pg_config for.
pub struct Answers {
    pub version: String,
    pub bindir: PathBuf,
    pub pkglibdir: PathBuf,
    pub sharedir: PathBuf,
    pub includedir_server: PathBuf,
}

/// Writes a shell script that answers like pg_config.
pub fn write(path: &Path, answers: &Answers) -> Result<()> {
    let text = |path: &PathBuf| path.display().to_string();
    let table = [
        ("BINDIR", text(&answers.bindir)),
        ("LIBDIR", text(&answers.pkglibdir)),
        ("PKGLIBDIR", text(&answers.pkglibdir)),
        ("SHAREDIR", text(&answers.sharedir)),
        ("INCLUDEDIR-SERVER", text(&answers.includedir_server)),
        ("PKGINCLUDEDIR", text(&answers.includedir_server)),
        ("CPPFLAGS", "-D_GNU_SOURCE".to_owned()),
        ("CONFIGURE", String::new()),
        ("VERSION", answers.version.clone()),
    ];
    let cases: String = table
        .iter()
        .map(|(name, value)| format!("--{}) echo '{value}' ;;\n", name.to_lowercase()))
        .collect();
    let all: String = table.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\n{cases}'') cat <<'END'\n{all}END\n;;\n\
         *) echo \"pg_config: invalid argument: $1\" >&2; exit 1 ;;\nesac\n"
    );
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// One of the `NAME = value` lines that pg_config prints when it is asked for nothing.
pub fn answer(answers: &str, name: &str) -> Result<String> {
    answers
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
        .with_context(|| format!("pg_config does not say what {name} is"))
}

/// `PostgreSQL 15.20 (Debian …)` is major 15, `PostgreSQL 19beta1` is 19.
pub fn major(version: &str) -> Result<u16> {
    let number = version.strip_prefix("PostgreSQL ").unwrap_or_default();
    let digits = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().with_context(|| format!("pg_config's version is not PostgreSQL's: {version}"))
}

/// From what `postgres --version` says to what `pg_config --version` says.
pub fn version_of_server(version: &str) -> String {
    version.trim().replacen("postgres (PostgreSQL)", "PostgreSQL", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::output;
    use std::process::Command;

    #[test]
    fn the_script_answers_like_pg_config() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pg_config");
        let answers = Answers {
            version: "PostgreSQL 15.20 (Debian 15.20-0+deb12u1)".into(),
            bindir: "/x/bin".into(),
            pkglibdir: "/x/lib".into(),
            sharedir: "/x/share".into(),
            includedir_server: "/x/include/server".into(),
        };
        write(&path, &answers).unwrap();
        let ask = |question: &str| output(Command::new(&path).arg(question)).unwrap();
        assert_eq!(ask("--includedir-server"), "/x/include/server\n");
        assert_eq!(ask("--version"), "PostgreSQL 15.20 (Debian 15.20-0+deb12u1)\n");
        assert_eq!(ask("--configure"), "\n");
        assert!(output(Command::new(&path).arg("--nonsense")).is_err());
        let all = output(&mut Command::new(&path)).unwrap();
        assert_eq!(answer(&all, "PKGLIBDIR").unwrap(), "/x/lib");
    }

    #[test]
    fn majors_are_read_from_releases_and_betas() {
        assert_eq!(major("PostgreSQL 15.20 (Debian 15.20-0+deb12u1)").unwrap(), 15);
        assert_eq!(major("PostgreSQL 19beta1").unwrap(), 19);
        assert!(major("EnterpriseDB 9.6").is_err());
        assert_eq!(version_of_server("postgres (PostgreSQL) 14.23\n"), "PostgreSQL 14.23");
    }
}
