//! The project's commands, behind the alias `cargo x`.

mod bench;
mod check;
mod demo;
mod install;
mod test;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use testbed::{MAJORS, majors};

#[derive(Parser)]
#[command(name = "cargo x", about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch the PostgreSQL majors that are missing
    Prepare {
        #[arg(long, value_delimiter = ',', default_values_t = MAJORS)]
        majors: Vec<u16>,
    },
    /// Build a release and install it into a server
    Install {
        /// The server's pg_config
        #[arg(long, value_name = "PATH")]
        pg_config: PathBuf,
        /// Also the extension of that name, in place of the original's files
        #[arg(long)]
        with_aiven_extras: bool,
    },
    /// Measure against the real alternative
    Bench { name: bench::Name },
    /// Migrate a live database between two throwaway servers
    Demo(demo::Options),
    /// Formatting, lints and the tests that need no server
    Check {
        /// Other cases for the property tests than in every run
        #[arg(long)]
        random_seed: bool,
    },
    /// Build for every major and run all tests of the extension
    Test {
        /// For the test runner, such as a part of a test's name
        #[arg(last = true)]
        runner_arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    run(Arguments::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Prepare { majors } => prepare(&majors)?,
        Command::Install { pg_config, with_aiven_extras } => {
            install::run(&pg_config, with_aiven_extras)?
        }
        Command::Bench { name } => bench::run(name)?,
        Command::Demo(options) => demo::run(&options)?,
        Command::Check { random_seed } => check::run(random_seed)?,
        Command::Test { runner_arguments } => return test::run(&runner_arguments),
    }
    Ok(ExitCode::SUCCESS)
}

fn prepare(majors: &[u16]) -> Result<()> {
    for major in majors {
        let install = majors::prepare(*major)?;
        let headers = if install.has_headers() { "with" } else { "without" };
        println!("{} {headers} headers: {}", install.version, install.pg_config.display());
    }
    Ok(())
}
