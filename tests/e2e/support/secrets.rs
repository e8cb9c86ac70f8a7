//! Looking for passwords and connection strings where none may be.

use postgres::error::DbError;
use testbed::PASSWORD;

/// Lines that hold the test password, or a `password=` that is not masked.
pub fn secrets_in(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains(PASSWORD) || has_bare_password(line)).collect()
}

fn has_bare_password(line: &str) -> bool {
    // "password=…" is how a hint says what to write.
    let is_masked = |value: &str| {
        let value = value.trim_start_matches(['\'', '\\', '"']);
        value.starts_with("****") || value.starts_with('…')
    };
    line.match_indices("password=").any(|(at, keyword)| !is_masked(&line[at + keyword.len()..]))
}

/// The same for a server's log. Not looked at are the parameters of a bind: PostgreSQL logs them
/// before the statement that takes them runs, so no function can hide them (a preloaded library can:
/// `secrets.rs` tests that).
pub fn secrets_in_log(log: &str) -> Vec<&str> {
    let mut report = "";
    log.lines()
        .filter(|line| {
            if line.contains(" LOG:  ") {
                report = line;
            }
            !(is_bind(report) && line.contains(" DETAIL:  "))
        })
        .flat_map(secrets_in)
        .collect()
}

fn is_bind(report: &str) -> bool {
    report.contains(" ms  bind ")
}

/// Looks through everything that a client is told.
#[track_caller]
pub fn assert_no_secret(report: &DbError) {
    let more = [report.detail(), report.hint(), report.where_()];
    for text in [report.message()].into_iter().chain(more.into_iter().flatten()) {
        assert_eq!(secrets_in(text), [""; 0], "in {report:?}");
    }
}

#[test]
fn a_secret_is_found_and_a_masked_one_is_not() {
    let log = format!("one\ntwo '{PASSWORD}'\nthree password='********' x\nfour password=\\'xyz");
    assert_eq!(secrets_in(&log), [&*format!("two '{PASSWORD}'"), "four password=\\'xyz"]);
}

#[test]
fn only_the_parameters_of_a_bind_are_not_looked_at() {
    let parameters = format!("x DETAIL:  parameters: $1 = '{PASSWORD}'");
    let log = |report: &str| {
        format!("x LOG:  00000: duration: 0.1 ms  {report} s0: SELECT\n{parameters}")
    };
    assert_eq!(secrets_in_log(&log("bind")), [""; 0]);
    assert_eq!(secrets_in_log(&log("execute")), [parameters.as_str()]);
}
