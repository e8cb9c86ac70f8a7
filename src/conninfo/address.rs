//! The addresses of a host name. To be called in a thread: getaddrinfo() cannot be interrupted.

use std::net::{IpAddr, ToSocketAddrs};

use pgmig_core::conninfo::Conninfo;

const UNRESOLVED: &str = "could not resolve the host name";

/// Adds the addresses of a host that is a name: `host` and `hostaddr` become lists of the same length.
/// Each entry keeps the name, which TLS compares with the certificate. Blocks while the system
/// resolves the name.
pub fn resolved(conninfo: Conninfo) -> Result<Conninfo, String> {
    let Some(host) = conninfo.get("host").map(str::to_owned) else { return Ok(conninfo) };
    let known = conninfo.is_local() || host.contains(',') || host.parse::<IpAddr>().is_ok();
    if known || conninfo.get("hostaddr").is_some() {
        return Ok(conninfo);
    }
    let addresses = (host.as_str(), 0).to_socket_addrs().map_err(|_| UNRESOLVED)?;
    let mut addresses: Vec<_> = addresses.map(|address| address.ip().to_string()).collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(UNRESOLVED.to_owned());
    }
    let mut conninfo = conninfo;
    conninfo.set("host", vec![host.as_str(); addresses.len()].join(","));
    conninfo.set("hostaddr", addresses.join(","));
    Ok(conninfo)
}
