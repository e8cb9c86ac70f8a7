//! The event trigger of 15, for databases that have only this extension. See `subscription/guard.rs`.

use pgrx::prelude::*;

use crate::ffi::call::Call;

use super::entry;
use crate::subscription::guard::guard;

#[pg_extern(sql = false)]
fn aiven_guard_alter_subscription(call: Call) {
    entry(|| {
        guard(call, |_| {
            "Drop the subscription and create it again, \
             or use pg_alter_subscription_connection() of extension pgmig_extras."
                .into()
        })
    })
}
