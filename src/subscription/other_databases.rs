//! Subscriptions of other databases. A caller may look for one of them in this database by mistake.

use pgmig_core::secret::shown;

use super::view::view;
use crate::caller::Caller;
use crate::error::Error;
use crate::ffi::database;
use crate::ffi::subscription::{self as catalog, SubscriptionRow};

/// Adds to the error of a missing subscription which other databases have a subscription of its name
/// that the caller may see. `Err`: there is none, and the error is unchanged.
pub fn named_in(error: Error, name: &str) -> Result<Error, Error> {
    let databases = databases_of(name);
    let Some(first) = databases.first() else { return Err(error) };
    let quoted: Vec<_> = databases.iter().map(|it| format!("\"{}\"", shown(it))).collect();
    let detail = match &quoted[..] {
        [one] => format!("It is in database {one}."),
        several => format!("There are some in databases {}.", several.join(", ")),
    };
    let hint = format!("Connect to database \"{}\" and run this there.", shown(first));
    Ok(error.detail(detail).hint(hint))
}

/// The names of these databases, at most `SHOWN`.
fn databases_of(name: &str) -> Vec<String> {
    const SHOWN: usize = 5;
    let Ok(caller) = Caller::current() else { return Vec::new() };
    let is_named = |row: SubscriptionRow| row.name == name.as_bytes();
    let found = catalog::everywhere().into_iter().filter(|it| {
        SubscriptionRow::by_oid(it.subscription).is_some_and(is_named)
            && view(it.subscription, caller).is_some()
    });
    found.filter_map(|it| database::database_name(it.database)).take(SHOWN).collect()
}
