//! What may be shown of a subscription.

use pgmig_core::limits;
use pgrx::prelude::*;

use crate::conninfo::masked;
use crate::error::{raise, required};
use crate::ffi::argument::Text;

/// The connection string with its secrets masked. Native DDL stores longer ones than this extension
/// uses: one of them must not be in the way of a list.
#[pg_extern(sql = false)]
fn masked_conninfo(conninfo: Text) -> String {
    if conninfo.size() > limits::TEXT {
        return format!("<longer than {} bytes>", limits::TEXT);
    }
    masked(raise(required("conninfo", Some(conninfo))))
}
