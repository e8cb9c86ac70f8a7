//! Who may see the state of a subscription.

use pgrx::pg_sys::Oid;

use crate::caller::Caller;
use crate::ffi::identity;
use crate::ffi::subscription::SubscriptionRow;

/// What a caller may see of a subscription's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Members of its owner.
    All,
    /// Members of pg_monitor: no text that could contain values of rows.
    Figures,
}

/// What the caller may see of a subscription of any database. `None`: nothing, or it does not exist.
pub fn view(subscription: Oid, caller: Caller) -> Option<View> {
    let owner = SubscriptionRow::by_oid(subscription)?.owner;
    if caller.has_rights_of(owner) {
        return Some(View::All);
    }
    caller.has_rights_of(identity::PG_MONITOR).then_some(View::Figures)
}
