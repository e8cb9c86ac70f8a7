//! Running other programs.

use anyhow::{Context, Result, bail};
use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Shows a command, then runs it: for whatever installs, fetches or builds something.
pub fn run(command: &mut Command) -> Result<()> {
    show(command);
    let status = command.status().with_context(|| format!("cannot run `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a command in silence and gives what it printed; what it complained of goes into the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", line(command), output.status, complaint.trim_end());
    }
    Ok(String::from_utf8(output.stdout)?)
}

pub fn show(command: &Command) {
    eprintln!("+ {}", line(command));
}

/// The program and its arguments as a shell would take them.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The variables that would steer libpq from outside.
pub fn without_libpq_variables(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_pasted_into_a_shell() {
        let mut command = Command::new("psql");
        command.args(["-c", "SELECT 'x'", "", "host=127.0.0.1"]);
        assert_eq!(line(&command), r"psql -c 'SELECT '\''x'\''' '' host=127.0.0.1");
    }

    #[test]
    fn the_error_of_a_silent_command_carries_its_complaint() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]));
        assert!(error.unwrap_err().to_string().contains("no such thing"));
    }
}
