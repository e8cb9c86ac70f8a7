//! The order of the sources, which no compiler checks: which part may use which, where unsafe code
//! stands, and what is compiled for which major.

mod arrows;
mod circles;
mod features;
mod gates;
mod paths;
mod rooms;
mod sources;
mod unsafe_code;
mod violation;

use anyhow::{Result, bail};
use sources::Source;
use std::fs;
use testbed::{MAJORS, workspace};
use violation::Violation;

const EXTENSION: &str = "src/lib.rs";
/// Of these only circles of files are refused.
const OTHERS: [&str; 2] = ["testbed/src/lib.rs", "xtask/src/main.rs"];

pub fn run() -> Result<()> {
    let extension = crate_of(EXTENSION)?;
    let mut violations = in_extension(&extension);
    let manifest = fs::read_to_string(workspace::root().join("Cargo.toml"))?;
    violations.extend(features::check(&manifest, &MAJORS));
    for root in OTHERS {
        violations.extend(circles::between_files(&arrows::between(&crate_of(root)?)));
    }
    for violation in &violations {
        eprintln!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} places in the sources are against the order of the house", violations.len());
    }
    Ok(())
}

fn crate_of(root: &str) -> Result<Vec<Source>> {
    let folder = root.rsplit_once('/').map_or(root, |(folder, _)| folder);
    sources::parse(&sources::read(workspace::root(), folder)?, root)
}

fn in_extension(sources: &[Source]) -> Vec<Violation> {
    let arrows = arrows::between(sources);
    let mut violations = rooms::check(sources, &arrows);
    violations.extend(circles::between_files(&arrows));
    for source in sources {
        violations.extend(unsafe_code::check(source));
        violations.extend(gates::check(source, &MAJORS));
    }
    violations
}

/// A crate of a test, rooted at `src/lib.rs`.
#[cfg(test)]
fn planted(files: &[(&str, &str)]) -> Vec<Source> {
    let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    sources::parse(&texts.collect(), EXTENSION).unwrap()
}
