//! `cargo x bench NAME`: paired, interleaved runs against the real alternative. A table for people,
//! and as the last line one JSON object with the figures. Servers run with fsync on, the extension
//! as a release build.

mod calls;
mod times;
mod watcher;

use anyhow::Result;
use clap::ValueEnum;

#[derive(Clone, Copy, ValueEnum)]
pub enum Name {
    /// Creating and dropping a subscription with its slot, against a superuser's own commands
    Calls,
    /// What watching costs, with and without
    Watcher,
}

pub fn run(name: Name) -> Result<()> {
    match name {
        Name::Calls => calls::run(),
        Name::Watcher => watcher::run(),
    }
}
