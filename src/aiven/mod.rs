//! The functions of extension `aiven_extras` that differ from those of `pgmig_extras`: in their
//! arguments, in texts that clients match, or in further steps. The rules are those of the modules that
//! they call.

mod guard;
mod publication;
mod session;
mod slot;
mod statistics;
mod subscription;

use crate::error::{self, Result, raise_for};

const SCHEMA: &str = "aiven_extras";

/// Functions that hints name and that this extension also has.
const SHARED: [&str; 3] =
    ["pg_alter_subscription_enable", "pg_drop_subscription", "pg_list_all_subscriptions"];

/// Runs the body of an SQL function of this extension. Hints name this extension's functions if it has
/// them.
fn entry<T>(body: impl FnOnce() -> Result<T>) -> T {
    let schema = |function: &str| match SHARED.contains(&function) {
        true => SCHEMA,
        false => error::SCHEMA,
    };
    raise_for(schema, body())
}
