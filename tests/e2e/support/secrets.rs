//! Looking for passwords and connection strings where none may be.

use postgres::error::DbError;
use testbed::PASSWORD;

/// Lines that hold the test password, or a `password=` that is not masked.
pub fn secrets_in(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains(PASSWORD) || has_bare_password(line)).collect()
}

fn has_bare_password(line: &str) -> bool {
    let is_masked = |value: &str| value.trim_start_matches(['\'', '\\', '"']).starts_with("****");
    line.match_indices("password=").any(|(at, keyword)| !is_masked(&line[at + keyword.len()..]))
}

/// Looks through everything that a client is told.
#[track_caller]
pub fn assert_no_secret(report: &DbError) {
    let hint = report.hint().unwrap_or_default();
    // The one way to say what is missing; there is no value after it.
    let hint = hint.replace("password=…", "");
    let texts = [report.message(), &hint]
        .into_iter()
        .chain([report.detail(), report.where_()].into_iter().flatten());
    for text in texts {
        assert_eq!(secrets_in(text), [""; 0], "in {report:?}");
    }
}

#[test]
fn a_secret_is_found_and_a_masked_one_is_not() {
    let log = format!("one\ntwo '{PASSWORD}'\nthree password='********' x\nfour password=\\'xyz");
    assert_eq!(secrets_in(&log), [&*format!("two '{PASSWORD}'"), "four password=\\'xyz"]);
}
