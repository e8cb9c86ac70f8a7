//! Whether the watcher tells the truth: its lag against a heartbeat in every scenario of the
//! documentation, its states with their reasons, and who is told what.
//!
//! Times are measured here, so a pair of servers that was wrong has a second try: what only a busy
//! machine did wrong is right then. Both tables are shown.

mod lane;
mod recorder;
mod scenarios;
mod score;
mod telling;

use std::fmt::Write as _;
use std::io::Write as _;
use std::thread;

use lane::{Lane, Pair};
use score::Score;
use testbed::{Builder, Clock};

#[test]
fn lag_is_true_from_15_to_15() {
    assert_true(15, 15);
}

#[test]
fn lag_is_true_from_17_to_17() {
    assert_true(17, 17);
}

#[test]
fn lag_is_true_from_18_to_18() {
    assert_true(18, 18);
}

#[test]
fn lag_is_true_from_15_to_18() {
    assert_true(15, 18);
}

#[test]
fn lag_is_true_whatever_the_clocks_say() {
    let clocks = [Clock::new().unwrap(), Clock::new().unwrap()];
    let [at_source, at_target] = clocks.each_ref().map(|clock| |it: Builder| it.clock(clock));
    twice("17 to 17, clocks set", || {
        let pair = Pair::start_with((17, &at_source), (17, &at_target));
        scenarios::of_clocks(&pair, &clocks).finish()
    });
}

fn assert_true(source: u16, target: u16) {
    twice(&format!("{source} to {target}"), || {
        let mut pair = Pair::start(source, target);
        let lanes = thread::scope(|scope| {
            let all: [fn(&Pair) -> Lane; 2] = [scenarios::of_apply, scenarios::of_transport];
            let pair = &pair;
            let lanes = all.map(|scenarios| scope.spawn(move || scenarios(pair).finish()));
            lanes.map(|lane| lane.join().expect("the scenarios go as planned"))
        });
        let restarts = scenarios::of_restarts(&mut pair).finish();
        lanes.into_iter().flatten().chain(restarts).collect()
    });
}

fn twice(title: &str, run: impl Fn() -> Vec<(&'static str, Score)>) {
    let wrong = || -> String {
        let scores = run();
        show(title, &scores);
        scores.iter().flat_map(|(name, score)| complaints(name, score)).collect()
    };
    let first = wrong();
    if !first.is_empty() {
        say(&format!("{title}, first try:\n{first}"));
        let second = wrong();
        assert!(second.is_empty(), "{second}");
    }
}

fn complaints(scenario: &str, score: &Score) -> Vec<String> {
    score.wrong.iter().take(6).map(|wrong| format!("{scenario}: {wrong}\n")).collect()
}

fn show(title: &str, scores: &[(&str, Score)]) {
    let mut table = format!(
        "\n| {title:<30} | scored | late | unknown | worst error | max truth | max at 0 |\n"
    );
    for (scenario, score) in scores {
        let _ = writeln!(table, "| {scenario:<30} | {score} |");
    }
    say(&table);
}

/// Not by `println!`, which shows nothing of a test that passes.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
