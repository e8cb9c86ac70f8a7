//! What can be said without a running server: formatting, lints, fast tests.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use anyhow::Result;
use testbed::command;
use testbed::{build, majors};

use crate::tidy;

/// What proptest reads.
const SEED: &str = "PROPTEST_RNG_SEED";

/// The major that the root crate's default feature names.
const LINTED_MAJOR: u16 = 15;

/// `random_seed`: property tests and the simulation of the watcher try other cases than in every run.
pub fn run(random_seed: bool) -> Result<()> {
    tidy::run()?;
    let install = majors::prepare(LINTED_MAJOR)?;
    let cargo = |arguments: &str| -> Result<()> {
        let mut command = build::cargo_for(&install)?;
        if random_seed {
            command.env(SEED, seed().to_string());
        }
        command::run(command.args(arguments.split_whitespace()))
    };
    cargo("fmt --all --check")?;
    cargo("clippy --quiet --workspace --all-targets -- --deny warnings")?;
    cargo("test --quiet --lib --bins --package pgmig_core --package testbed --package xtask")
}

/// One that was not used before; said, so that a failure can be had again.
fn seed() -> u64 {
    static CHOSEN: LazyLock<u64> = LazyLock::new(|| {
        let seed = RandomState::new().hash_one(0);
        println!("{SEED}={seed}");
        seed
    });
    *CHOSEN
}
