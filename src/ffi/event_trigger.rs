//! What an event trigger is called for. Called by `subscription/guard.rs`.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

/// A change that concerns who a subscription connects to, or who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Connection(String),
    Owner,
}

/// The statement that the event trigger fired for. `None` when it is any other, or when the
/// function was not called as an event trigger.
pub fn change(fcinfo: pg_sys::FunctionCallInfo) -> Option<Change> {
    // SAFETY: the function manager's own argument, valid during the call.
    let context = unsafe { (*fcinfo).context };
    if !has_tag(context.cast(), pg_sys::NodeTag::T_EventTriggerData) {
        return None;
    }
    // SAFETY: the tag says what it is.
    let parse_tree = unsafe { (*context.cast::<pg_sys::EventTriggerData>()).parsetree };
    if has_tag(parse_tree, pg_sys::NodeTag::T_AlterSubscriptionStmt) {
        // SAFETY: the tag says what it is.
        let statement = unsafe { &*parse_tree.cast::<pg_sys::AlterSubscriptionStmt>() };
        let connection = pg_sys::AlterSubscriptionType::ALTER_SUBSCRIPTION_CONNECTION;
        return (statement.kind == connection).then(|| Change::Connection(text(statement.subname)));
    }
    if has_tag(parse_tree, pg_sys::NodeTag::T_AlterOwnerStmt) {
        // SAFETY: the tag says what it is.
        let statement = unsafe { &*parse_tree.cast::<pg_sys::AlterOwnerStmt>() };
        let subscription = pg_sys::ObjectType::OBJECT_SUBSCRIPTION;
        return (statement.objectType == subscription).then_some(Change::Owner);
    }
    None
}

pub fn current_user_is_superuser() -> bool {
    // SAFETY: a catalog cache look-up of the current user.
    unsafe { pg_sys::superuser() }
}

fn has_tag(node: *mut pg_sys::Node, tag: pg_sys::NodeTag) -> bool {
    // SAFETY: NULL, or a node, which starts with its tag.
    !node.is_null() && unsafe { (*node).type_ } == tag
}

fn text(name: *mut c_char) -> String {
    // SAFETY: a name in a parse tree is NUL-terminated and lives as long as the tree.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}
