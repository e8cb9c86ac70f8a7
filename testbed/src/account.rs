//! The account that servers run under: PostgreSQL refuses to run as root.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// An ordinary account, wanted only when we are root.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` when we are an ordinary user already.
    pub fn for_servers() -> Result<Option<Account>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd")?;
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| find(&passwd, name))
            .map(Some)
            .context("neither postgres nor nobody is an account here: as root we need one of them")
    }
}

/// How long a server program may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// No longer than the process that starts it.
    OfParent,
    Own,
}

/// A command for a server program, with an almost empty environment.
///
/// The environment is cleared because PG* variables would steer the server's own libpq, and
/// RUST_BACKTRACE would put backtraces into the DETAIL of every error that the extension raises.
/// What it has besides is meant for the server alone, not for what starts it as root.
pub fn server_command(
    program: &Path,
    environment: &[(String, String)],
    account: Option<&Account>,
    lifetime: Lifetime,
) -> Command {
    let mut command = Command::new("setpriv");
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
    if let Some(Account { uid, gid, .. }) = account {
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--init-groups");
    }
    match lifetime {
        // SIGQUIT is the postmaster's immediate shutdown.
        Lifetime::OfParent => command.arg("--pdeathsig=QUIT"),
        // A process group of its own: Ctrl-C in the terminal is not meant for it.
        Lifetime::Own => command.arg("--pdeathsig=clear").process_group(0),
    };
    command.arg("env").args(environment.iter().map(|(name, value)| format!("{name}={value}")));
    command.arg(program);
    command
}

/// Gives a file or folder to the account that servers run under.
pub fn give(path: &Path, account: Option<&Account>) -> Result<()> {
    match account {
        Some(account) => chown(path, Some(account.uid), Some(account.gid))
            .with_context(|| format!("cannot give {} to account {}", path.display(), account.name)),
        None => Ok(()),
    }
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    let mut fields = passwd
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    // name:password:uid:gid:…, the name is consumed.
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { name: name.to_owned(), uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      postgres2:x:7:7::/:/bin/sh\n\
                      postgres:x:101:104:admin,,,:/var/lib/postgresql:/bin/bash\n";
        let expected = Account { name: "postgres".into(), uid: 101, gid: 104 };
        assert_eq!(find(passwd, "postgres"), Some(expected));
        assert_eq!(find(passwd, "nobody"), None);
    }
}
