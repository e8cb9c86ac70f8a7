//! What can be said without a running server: formatting, lints, fast tests.

use anyhow::Result;
use testbed::command;
use testbed::{build, majors};

/// The major that the root crate's default feature names.
const LINTED_MAJOR: u16 = 15;

pub fn run() -> Result<()> {
    let install = majors::prepare(LINTED_MAJOR)?;
    let cargo = |arguments: &str| -> Result<()> {
        command::run(build::cargo_for(&install)?.args(arguments.split_whitespace()))
    };
    cargo("fmt --all --check")?;
    cargo("clippy --quiet --workspace --all-targets -- --deny warnings")?;
    cargo("test --quiet --lib --bins --package pgmig_core --package testbed --package xtask")
}
