//! What may be shown of a subscription.

use pgrx::prelude::*;

use crate::conninfo::masked;

/// The connection string with its secrets masked.
#[pg_extern(sql = false)]
fn masked_conninfo(conninfo: &str) -> String {
    masked(conninfo)
}
