//! TCP ports for servers, reserved so that no other test takes them, even while a server is down.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;

/// Below the range from which the kernel picks ports for outgoing connections: one of those could
/// take the port of a server that is being restarted.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// A port of 127.0.0.1 that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    /// An abstract socket's name belongs to one process at a time and ends with it.
    _claim: UnixDatagram,
}

impl Port {
    pub fn reserve() -> Result<Port> {
        let span = LAST - FIRST + 1;
        // Processes that start together begin their search far from each other.
        let start = (process::id() as u16).wrapping_mul(37) % span;
        (0..span)
            .map(|step| FIRST + (start + step) % span)
            .find_map(Port::claim)
            .with_context(|| format!("no free TCP port between {FIRST} and {LAST}"))
    }

    fn claim(number: u16) -> Option<Port> {
        let name = SocketAddr::from_abstract_name(format!("pgmig_extras.testbed.{number}")).ok()?;
        let claim = UnixDatagram::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Port { number, _claim: claim })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_nobody_elses_until_it_is_dropped() {
        let first = Port::reserve().unwrap();
        let second = Port::reserve().unwrap();
        assert_ne!(first.number, second.number);
        assert!(Port::claim(first.number).is_none());
        let number = first.number;
        drop(first);
        assert!(Port::claim(number).is_some());
    }
}
