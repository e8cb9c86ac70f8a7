//! What an event trigger is called for. Called by `subscription/guard.rs`.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use super::call::Call;

/// A change that concerns who a subscription connects to, or who it is, or that may end the guard.
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
    if has_tag(parse_tree, pg_sys::NodeTag::T_DropOwnedStmt) {
        return Some(Change::DropOwned);
    }
    if has_tag(parse_tree, pg_sys::NodeTag::T_DropStmt) {
        // SAFETY: the tag says what it is.
        let statement = unsafe { &*parse_tree.cast::<pg_sys::DropStmt>() };
        let extension = pg_sys::ObjectType::OBJECT_EXTENSION;
        return (statement.removeType == extension)
            .then(|| Change::DropExtension(names(statement.objects)));
    }
    None
}

/// A list of names in a parse tree.
#[cfg(feature = "pg15")]
fn names(list: *const pg_sys::List) -> Vec<String> {
    // SAFETY: a list of the parse tree, or NULL for an empty one.
    let Some(list) = (unsafe { list.as_ref() }) else { return Vec::new() };
    // SAFETY: the list has this many cells.
    let cells = unsafe { std::slice::from_raw_parts(list.elements, list.length as usize) };
    let name = |cell: &pg_sys::ListCell| {
        // SAFETY: a cell of a list of nodes.
        let node = unsafe { cell.ptr_value }.cast::<pg_sys::String>();
        // SAFETY: DROP EXTENSION names each by a String node (gram.y).
        text(unsafe { (*node).sval })
    };
    cells.iter().map(name).collect()
}

/// The guard is on 15 only.
#[cfg(any(
    feature = "pg13",
    feature = "pg14",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
fn names(_list: *const pg_sys::List) -> Vec<String> {
    Vec::new()
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
