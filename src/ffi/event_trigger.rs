//! The statement for which an event trigger is called. Called by `subscription/guard.rs`.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag::*;

use super::call::Call;

/// A statement that changes a subscription's connection or owner, or that may drop the event trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Connection(String),
    Owner,
    /// DROP EXTENSION, with their names.
    DropExtension(Vec<String>),
    DropOwned,
}

/// The statement that the event trigger fired for. `None` when it is any other, or when the
/// function was not called as an event trigger.
pub fn change(call: Call) -> Option<Change> {
    // SAFETY: the function manager's own argument, valid during the call.
    let context = unsafe { (*call.info()).context };
    // SAFETY: NULL or a node.
    let trigger = unsafe { node::<pg_sys::EventTriggerData>(context, T_EventTriggerData) }?;
    let tree = trigger.parsetree;
    // SAFETY: a node of the statement, which lives as long as the call.
    let alter = unsafe { node::<pg_sys::AlterSubscriptionStmt>(tree, T_AlterSubscriptionStmt) };
    if let Some(statement) = alter {
        let connection = pg_sys::AlterSubscriptionType::ALTER_SUBSCRIPTION_CONNECTION;
        // SAFETY: a name of the parse tree.
        let name = || unsafe { text(statement.subname) };
        return (statement.kind == connection).then(|| Change::Connection(name()));
    }
    // SAFETY: as above.
    if let Some(statement) = unsafe { node::<pg_sys::AlterOwnerStmt>(tree, T_AlterOwnerStmt) } {
        let subscription = pg_sys::ObjectType::OBJECT_SUBSCRIPTION;
        return (statement.objectType == subscription).then_some(Change::Owner);
    }
    // SAFETY: as above.
    if unsafe { node::<pg_sys::DropOwnedStmt>(tree, T_DropOwnedStmt) }.is_some() {
        return Some(Change::DropOwned);
    }
    // SAFETY: as above.
    let statement = unsafe { node::<pg_sys::DropStmt>(tree, T_DropStmt) }?;
    let extension = pg_sys::ObjectType::OBJECT_EXTENSION;
    // SAFETY: DROP EXTENSION names each by a String node (gram.y).
    let names = || unsafe { names(statement.objects) };
    (statement.removeType == extension).then(|| Change::DropExtension(names()))
}

/// A list of names in a parse tree.
///
/// # Safety
/// `list` is NIL, or a List of String nodes.
#[cfg(feature = "pg15")]
unsafe fn names(list: *const pg_sys::List) -> Vec<String> {
    // SAFETY: a list of the parse tree, or NULL for an empty one.
    let Some(list) = (unsafe { list.as_ref() }) else { return Vec::new() };
    // SAFETY: the list has this many cells.
    let cells = unsafe { std::slice::from_raw_parts(list.elements, list.length as usize) };
    let name = |cell: &pg_sys::ListCell| {
        // SAFETY: a cell of a list of nodes.
        let node = unsafe { cell.ptr_value }.cast::<pg_sys::String>();
        // SAFETY: the caller's word.
        let value = unsafe { (*node).sval };
        // SAFETY: as above.
        unsafe { text(value) }
    };
    cells.iter().map(name).collect()
}

/// The guard is on 15 only.
///
/// # Safety
/// There is no condition.
#[cfg(any(
    feature = "pg13",
    feature = "pg14",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
unsafe fn names(_list: *const pg_sys::List) -> Vec<String> {
    Vec::new()
}

pub fn current_user_is_superuser() -> bool {
    // SAFETY: a catalog cache look-up of the current user.
    unsafe { pg_sys::superuser() }
}

/// A node by its tag.
///
/// # Safety
/// `node` is NULL or a node that lives for `'a`, and `T` is the type of nodes with this tag.
unsafe fn node<'a, T>(node: *mut pg_sys::Node, tag: pg_sys::NodeTag) -> Option<&'a T> {
    // SAFETY: the caller's word: a node starts with its tag.
    let found = unsafe { node.as_ref() }?.type_;
    // SAFETY: as above.
    (found == tag).then(|| unsafe { &*node.cast::<T>() })
}

/// # Safety
/// `name` is a C string.
unsafe fn text(name: *mut c_char) -> String {
    // SAFETY: the caller's word.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}
