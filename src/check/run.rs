//! All checks of what is to be subscribed, in their order.

use super::facts::Subject;
use super::finding::Finding;
use super::{
    extension_tables, generated_columns, large_objects, other_origins, reading, row_security,
    rows_here, time_limits, unlogged,
};
use crate::error::Result;

type Check = fn(&Subject) -> Result<Option<Finding>>;

/// Checks that can refuse come first.
const CHECKS: [Check; 9] = [
    row_security::judge,
    reading::judge,
    unlogged::judge_published,
    generated_columns::judge,
    time_limits::judge,
    unlogged::judge_left_out,
    large_objects::judge,
    other_origins::judge,
    extension_tables::judge,
];

/// Raises the first refusal, and sends the warnings.
pub fn run(subject: &Subject) -> Result<()> {
    if subject.tables.is_empty() {
        return Ok(());
    }
    for check in CHECKS.into_iter().chain([rows_here::judge as Check]) {
        match check(subject)? {
            Some(Finding::Refusal(error)) => return Err(error),
            Some(Finding::Warning(warning)) => warning.send(),
            None => {}
        }
    }
    Ok(())
}
