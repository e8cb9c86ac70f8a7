//! What can be said without a running server: the order of the sources, formatting, lints, fast
//! tests.

use std::hash::{BuildHasher, RandomState};
use std::process::Command;

use anyhow::Result;
use testbed::command;
use testbed::{build, majors};

use crate::tidy;

/// What proptest reads.
const SEED: &str = "PROPTEST_RNG_SEED";

/// The oldest and the newest major, and one between: each has code of its own.
const LINTED_MAJORS: [u16; 3] = [13, 15, 18];

/// `random_seed`: property tests and the simulation of the watcher try other cases than in every run.
pub fn run(random_seed: bool) -> Result<()> {
    tidy::run()?;
    cargo("fmt --all --check", build::cargo())?;
    let others = "clippy --quiet --workspace --exclude pgmig_extras --all-targets";
    cargo(&format!("{others} -- --deny warnings"), build::cargo())?;
    for major in LINTED_MAJORS {
        lint_extension(major)?;
    }
    let mut tests = build::cargo();
    if random_seed {
        tests.env(SEED, seed().to_string());
    }
    cargo("test --quiet", tests)
}

fn lint_extension(major: u16) -> Result<()> {
    let extension = "clippy --quiet --package pgmig_extras --all-targets --no-default-features";
    let install = majors::prepare(major)?;
    cargo(
        &format!("{extension} --features pg{major} -- --deny warnings"),
        build::cargo_for(&install)?,
    )
}

fn cargo(arguments: &str, mut command: Command) -> Result<()> {
    command::run(command.args(arguments.split_whitespace()))
}

/// One that was not used before; said, so that a failure can be had again.
fn seed() -> u64 {
    let seed = RandomState::new().hash_one(0);
    println!("{SEED}={seed}");
    seed
}
