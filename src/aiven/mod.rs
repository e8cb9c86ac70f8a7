//! The functions of extension `aiven_extras` that differ from those of `pgmig_extras`: in their
//! arguments, in texts that clients match, or in what they do besides. Thin: the rules are those of
//! the modules that they call.

mod guard;
mod publication;
mod session;
mod slot;
mod statistics;
mod subscription;

use crate::error::{Error, Result, raise};

const SCHEMA: &str = "aiven_extras";

/// Functions that hints name, and that this extension has too.
const SHARED: [&str; 3] = [
    "pgmig_extras.pg_alter_subscription_enable",
    "pgmig_extras.pg_drop_subscription",
    "pgmig_extras.pg_list_all_subscriptions",
];

/// The value, or an ERROR whose hint names functions of this extension.
fn answer<T>(result: Result<T>) -> T {
    raise(result.map_err(|error| Error { hint: error.hint.map(own_functions), ..error }))
}

fn own_functions(hint: String) -> String {
    let own = |function: &str| function.replace("pgmig_extras", SCHEMA);
    SHARED.iter().fold(hint, |hint, function| hint.replace(function, &own(function)))
}
