//! A throwaway certificate authority and one server certificate, shared by all clusters.

use crate::apt;
use crate::command::output;
use crate::workspace;
use anyhow::Result;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// libpq matches an IP address against IP entries since 15, before only against DNS entries.
const EXTENSIONS: &str = "subjectAltName=DNS:localhost,DNS:127.0.0.1,IP:127.0.0.1\n";

/// The authority's certificate; its folder holds nothing that is secret.
pub fn ca_file() -> Result<PathBuf> {
    Ok(certificates()?.join("public/ca.crt"))
}

pub(crate) fn server_certificate() -> Result<PathBuf> {
    Ok(certificates()?.join("public/server.crt"))
}

pub(crate) fn server_key() -> Result<PathBuf> {
    Ok(certificates()?.join("private/server.key"))
}

fn certificates() -> Result<PathBuf> {
    let home = workspace::pg_dir().join("tls");
    if home.is_dir() {
        return Ok(home);
    }
    let _lock = workspace::lock("tls")?;
    if !home.is_dir() {
        apt::require("openssl", "openssl")?;
        let staging = tempfile::tempdir_in(workspace::pg_dir())?;
        make(staging.path())?;
        fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755))?;
        fs::rename(staging.keep(), &home)?;
    }
    Ok(home)
}

fn make(dir: &Path) -> Result<()> {
    for folder in ["public", "private"] {
        fs::create_dir(dir.join(folder))?;
    }
    fs::set_permissions(dir.join("private"), fs::Permissions::from_mode(0o700))?;
    fs::write(dir.join("private/extensions"), EXTENSIONS)?;
    let openssl = |arguments: &str| {
        output(Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir))
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
         -subj /CN=testbed-authority -keyout private/ca.key -out public/ca.crt",
    )?;
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
         -subj /CN=localhost -keyout private/server.key -out private/server.csr",
    )?;
    openssl(
        "x509 -req -days 3650 -in private/server.csr -extfile private/extensions \
         -CA public/ca.crt -CAkey private/ca.key -set_serial 1 -out public/server.crt",
    )?;
    Ok(())
}
