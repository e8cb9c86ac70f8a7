//! `cargo x demo`: a live database moves from one major to another by a role that is no superuser.

mod load;
mod screen;
mod server;
mod story;
mod watch;

use anyhow::Result;
use clap::Args;
use screen::Screen;
use server::Server;
use std::collections::BTreeSet;
use std::time::Instant;
use story::Story;
use testbed::{MAJORS, PASSWORD, build, majors, tools};

/// Before it, apply workers put rows into tables without asking whose those are.
const OLDEST_TARGET: u16 = 15;

#[derive(Args)]
pub struct Options {
    /// The source's major
    #[arg(long, value_name = "MAJOR", default_value_t = 15, value_parser = source_major)]
    source: u16,
    /// The target's major, 15 or later
    #[arg(long, value_name = "MAJOR", default_value_t = 17, value_parser = target_major)]
    target: u16,
    /// pgbench's scale: 100,000 accounts (13 MB) for each unit
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    scale: u32,
    /// Leave both servers up, and say how to reach them and how to stop them
    #[arg(long)]
    keep: bool,
}

fn source_major(text: &str) -> Result<u16, String> {
    let major = text.parse().ok().filter(|major| MAJORS.contains(major));
    major.ok_or_else(|| format!("the majors are {MAJORS:?}"))
}

fn target_major(text: &str) -> Result<u16, String> {
    match source_major(text)? {
        major if major < OLDEST_TARGET => Err(format!(
            "PostgreSQL {major} can only be a source: apply workers before {OLDEST_TARGET} \
             ignore table privileges"
        )),
        major => Ok(major),
    }
}

pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    prepare(options)?;
    let story = Story {
        screen: Screen::new(),
        source: Server::start("source", options.source)?,
        target: Server::start("target", options.target)?,
    };
    story.tell(options.scale).inspect_err(|_| show_logs(&story))?;
    end(story, options.keep)?;
    println!("The whole demo took {:.0} s.", started.elapsed().as_secs_f64());
    Ok(())
}

/// Fetches what is missing and builds the extension; each command is shown before it runs.
fn prepare(options: &Options) -> Result<()> {
    tools::psql()?;
    tools::pgbench()?;
    for major in BTreeSet::from([options.source, options.target]) {
        build::build_and_install(&majors::prepare(major)?, false)?;
    }
    Ok(())
}

fn show_logs(story: &Story) {
    for server in [&story.source, &story.target] {
        let log = server.cluster.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(20)..];
        eprintln!("--- The log of the {} ends:\n{}", server.name, last.join("\n"));
    }
}

fn end(story: Story, keep: bool) -> Result<()> {
    if !keep {
        drop(story);
        println!("Both servers are stopped and removed.");
        return Ok(());
    }
    println!("Both servers stay up:");
    let psql = tools::psql()?;
    let mut pids = Vec::new();
    for server in [story.source, story.target] {
        println!("{} \"{}\"  # {}", psql.display(), server.conninfo(PASSWORD)?, server.name);
        pids.push(server.cluster.detach()?.to_string());
    }
    println!("To stop them: kill -INT {}", pids.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_before_15_are_sources_only() {
        assert_eq!(source_major("13"), Ok(13));
        assert_eq!(target_major("15"), Ok(15));
        assert!(target_major("14").unwrap_err().contains("only be a source"));
        assert!(source_major("12").unwrap_err().contains("[13, 14,"));
    }
}
