//! All tests of the extension, with one closing line for all runners.

use anyhow::{Context, Result, bail};
use std::fmt::{self, Display};
use std::io::{BufRead, BufReader};
use std::iter::Sum;
use std::process::{Command, ExitCode, Stdio};
use std::{env, thread};
use testbed::{MAJORS, build, command, majors};

/// The first that is built for, since most tests use them.
const MOST_USED: [u16; 2] = [15, 18];

/// The tally is the very last line, whatever happened before.
pub fn run(runner_arguments: &[String]) -> Result<ExitCode> {
    let (mut tally, ended_well) = run_tests(runner_arguments)?;
    if !ended_well && tally.failed == 0 {
        eprintln!("a test runner or the extension could not be built, or a runner was killed");
        tally.failed = 1;
    }
    if tally.passed + tally.failed == 0 {
        eprintln!("no test ran");
    }
    println!("{tally}");
    Ok(if tally.passed > 0 && tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of some tests only what they use is built, by themselves. Of all, those that measure in seconds
/// come last, and have the machine to themselves.
fn run_tests(runner_arguments: &[String]) -> Result<(Tally, bool)> {
    const MEASURED: &str = "truth::";
    if !runner_arguments.is_empty() {
        return cargo_test(runner_arguments);
    }
    let (others, all_built) =
        while_building(|| cargo_test(&["--skip", MEASURED].map(String::from)))?;
    let measured = cargo_test(&[MEASURED, "--test-threads=1"].map(String::from))?;
    let ended_well = others.1 && measured.1 && all_built;
    Ok(([others.0, measured.0].into_iter().sum(), ended_well))
}

/// Builds for every major. A build keeps one core busy and most tests wait for servers, so the tests
/// begin after the first builds; one that needs another major waits for it.
fn while_building<T>(run: impl FnOnce() -> Result<T>) -> Result<(T, bool)> {
    command::run(cargo_test_command().arg("--no-run"))?;
    for major in MOST_USED {
        build_for(major)?;
    }
    thread::scope(|scope| {
        let rest = MAJORS.into_iter().filter(|major| !MOST_USED.contains(major));
        let builds = scope.spawn(|| rest.map(build_for).collect::<Result<Vec<()>>>());
        let result = run()?;
        let built = builds.join().unwrap_or_else(|_| bail!("the builds panicked"));
        if let Err(error) = &built {
            eprintln!("error: {error:#}");
        }
        Ok((result, built.is_ok()))
    })
}

fn build_for(major: u16) -> Result<()> {
    build::build_and_install(&majors::prepare(major)?, false)
}

fn cargo_test_command() -> Command {
    let mut cargo = build::cargo();
    cargo.args(["test", "--no-fail-fast"]);
    cargo.args(
        ["pgmig_core", "testbed", "pgmig_extras_tests"].map(|name| format!("--package={name}")),
    );
    cargo.args(["--lib", "--test=servers", "--test=e2e"]);
    cargo
}

/// What a test runner reads; `--test-threads` wins over it.
const THREADS: &str = "RUST_TEST_THREADS";

/// Two per processor, because most tests wait for a server most of the time.
fn threads() -> usize {
    2 * thread::available_parallelism().map_or(1, usize::from)
}

fn cargo_test(runner_arguments: &[String]) -> Result<(Tally, bool)> {
    let mut cargo = cargo_test_command();
    cargo.arg("--").args(runner_arguments);
    if env::var_os(THREADS).is_none() {
        cargo.env(THREADS, threads().to_string());
    }
    command::show(&cargo);
    let mut runner = cargo.stdout(Stdio::piped()).spawn()?;
    let output = runner.stdout.take().context("the runner's output is a pipe")?;
    let mut tallies = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        tallies.extend(Tally::of_closing_line(&line));
    }
    Ok((tallies.into_iter().sum(), runner.wait()?.success()))
}

#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Tally {
    /// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in …`
    fn of_closing_line(line: &str) -> Option<Tally> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
        };
        Some(Tally {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Tally>>(tallies: I) -> Tally {
        tallies.fold(Tally::default(), |sum, next| Tally {
            passed: sum.passed + next.passed,
            failed: sum.failed + next.failed,
            ignored: sum.ignored + next.ignored,
        })
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} skipped", self.ignored)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_all_runners_are_added_up() {
        let output = "running 2 tests\n\
            test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s\n\
            test result_is_kept ... ok\n\
            test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.10s\n";
        let sum: Tally = output.lines().filter_map(Tally::of_closing_line).sum();
        assert_eq!(sum, Tally { passed: 12, failed: 2, ignored: 1 });
    }

    #[test]
    fn the_last_line_names_skipped_tests_only_when_there_are_some() {
        let all_ran = Tally { passed: 3, failed: 0, ignored: 0 };
        assert_eq!(all_ran.to_string(), "3 passed, 0 failed");
        let one_ignored = Tally { ignored: 1, ..all_ran };
        assert_eq!(one_ignored.to_string(), "3 passed, 0 failed, 1 skipped");
    }
}
