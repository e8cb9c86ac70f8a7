//! Whether the watcher tells the truth: its lag against a heartbeat in every scenario of the
//! documentation, its states with their reasons, and who is told what.

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

fn assert_true(source: u16, target: u16) {
    let mut pair = Pair::start(source, target);
    let lanes = thread::scope(|scope| {
        let all: [fn(&Pair) -> Lane; 2] = [scenarios::of_apply, scenarios::of_transport];
        let pair = &pair;
        let lanes = all.map(|scenarios| scope.spawn(move || scenarios(pair).finish()));
        lanes.map(|lane| lane.join().expect("the scenarios go as planned"))
    });
    let restarts = scenarios::of_restarts(&mut pair).finish();
    let scores: Vec<_> = lanes.into_iter().flatten().chain(restarts).collect();
    show(&format!("{source} to {target}"), &scores);
    let wrong: Vec<String> =
        scores.iter().flat_map(|(name, score)| complaints(name, score)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn complaints(scenario: &str, score: &Score) -> Vec<String> {
    score.wrong.iter().take(6).map(|wrong| format!("{scenario}: {wrong}")).collect()
}

/// Not by `println!`, which shows nothing of a test that passes.
fn show(pair: &str, scores: &[(&str, Score)]) {
    let mut table = format!(
        "\n| {pair:<30} | scored | late | unknown | worst error | max truth | max at 0 |\n"
    );
    for (scenario, score) in scores {
        let _ = writeln!(table, "| {scenario:<30} | {score} |");
    }
    let _ = std::io::stdout().write_all(table.as_bytes());
}
