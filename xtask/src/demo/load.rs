//! The application that goes on working while its database moves: pgbench.

use super::server::Server;
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::process::{Child, Stdio};
use testbed::command;

pub const FILL: &str = "pgbench --initialize --quiet --scale=";
pub const RUN: &str = "pgbench --client=2 --no-vacuum --time=3600";

/// Fills the source's database, 100,000 accounts for each unit of scale.
pub fn fill(source: &Server, scale: u32) -> Result<()> {
    let arguments = format!("{FILL}{scale}");
    command::output(source.pgbench()?.args(arguments.split_whitespace().skip(1)))?;
    Ok(())
}

/// A running pgbench; it ends when this is dropped.
pub struct Load {
    pgbench: Child,
}

impl Load {
    pub fn start(source: &Server) -> Result<Load> {
        let pgbench = source
            .pgbench()?
            .args(RUN.split_whitespace().skip(1))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run pgbench")?;
        Ok(Load { pgbench })
    }

    /// Fails if it had ended before: then the database was not under load.
    pub fn stop(mut self) -> Result<()> {
        let Some(status) = self.pgbench.try_wait()? else { return Ok(()) };
        let mut complaint = String::new();
        if let Some(stderr) = &mut self.pgbench.stderr {
            stderr.read_to_string(&mut complaint)?;
        }
        bail!("pgbench ended by itself ({status}): {}", complaint.trim_end());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.pgbench.kill();
        let _ = self.pgbench.wait();
    }
}
