//! Asks the server's parser what a text is. Called by `publication/` and `admin/explain.rs`.

use std::ffi::{CStr, CString, c_void};

use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Node, NodeTag};
use pgrx::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The parser's own message.
    Syntax(String),
    SeveralExpressions,
    Subquery,
}

/// Whether `text` is one SQL expression without a subquery. Nothing in it is looked up or run.
///
/// It must parse as a SELECT list of one item in two ways: as it is, so that its parentheses, quotes
/// and comments are balanced, and in parentheses, so that no other clause follows it.
pub fn check_expression(text: &str) -> Result<(), Fault> {
    for statement in [format!("SELECT \n{text}\n"), format!("SELECT (\n{text}\n)")] {
        let list = parse(&statement)?;
        // SAFETY: what the raw parser has just made.
        let expression = unsafe { only_target(list) }.ok_or(Fault::SeveralExpressions)?;
        // SAFETY: a part of that.
        if unsafe { is_subquery_or_has_one(expression, std::ptr::null_mut()) } {
            return Err(Fault::Subquery);
        }
    }
    Ok(())
}

/// Whether a text is one EXPLAIN and nothing else. An ERROR where it has no syntax.
pub fn is_one_explain(text: &CStr) -> bool {
    // SAFETY: a valid C string; the tree lives in the current memory context.
    let statements = unsafe { pg_sys::pg_parse_query(text.as_ptr()) };
    // SAFETY: the raw parser makes a List of RawStmts.
    let Some(statement) = (unsafe { only::<pg_sys::RawStmt>(statements) }) else { return false };
    // SAFETY: as above.
    let statement = unsafe { (*statement).stmt };
    // SAFETY: a node of its tree.
    unsafe { tag(statement) == Some(NodeTag::T_ExplainStmt) }
}

/// Catching an ERROR without a subtransaction is right here: the raw parser only allocates memory.
fn parse(statement: &str) -> Result<*mut pg_sys::List, Fault> {
    let statement = CString::new(statement).map_err(|error| Fault::Syntax(error.to_string()))?;
    PgTryBuilder::new(|| {
        // SAFETY: a valid C string; the tree lives in the current memory context.
        Ok(unsafe { pg_sys::pg_parse_query(statement.as_ptr()) })
    })
    .catch_when(PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, |cause| match cause {
        CaughtError::PostgresError(report) => Err(Fault::Syntax(report.message().to_owned())),
        other => other.rethrow(),
    })
    .execute()
}

/// The expression of a `SELECT expression` without an alias, if that is all there is.
///
/// # Safety
/// `statements` comes from the raw parser, which makes a List of RawStmts.
unsafe fn only_target(statements: *mut pg_sys::List) -> Option<*mut Node> {
    // SAFETY: the caller's word.
    let statement = unsafe { only::<pg_sys::RawStmt>(statements) }?;
    // SAFETY: as above.
    let statement = unsafe { (*statement).stmt };
    // SAFETY: a node of its tree.
    if unsafe { tag(statement) } != Some(NodeTag::T_SelectStmt) {
        return None;
    }
    let select = statement.cast::<pg_sys::SelectStmt>();
    // SAFETY: a SelectStmt by its tag.
    let targets = unsafe { (*select).targetList };
    // SAFETY: the target list of a SELECT holds ResTargets.
    let target = unsafe { only::<pg_sys::ResTarget>(targets) }?;
    // SAFETY: as above.
    let target = unsafe { &*target };
    target.name.is_null().then_some(target.val)
}

/// The only item of a List.
///
/// # Safety
/// `list` is NIL, or a List of pointers to T.
unsafe fn only<T>(list: *mut pg_sys::List) -> Option<*mut T> {
    // SAFETY: NIL is NULL; any other List is valid.
    let list = unsafe { list.as_ref() }?;
    if list.length != 1 {
        return None;
    }
    // SAFETY: there is one element.
    let cell = unsafe { *list.elements };
    // SAFETY: a List of nodes holds pointers.
    Some(unsafe { cell.ptr_value }.cast())
}

/// # Safety
/// `node` is NULL or a node of a tree.
unsafe fn tag(node: *mut Node) -> Option<NodeTag> {
    // SAFETY: the caller's word.
    unsafe { node.as_ref() }.map(|node| node.type_)
}

#[pg_guard]
unsafe extern "C-unwind" fn is_subquery_or_has_one(node: *mut Node, context: *mut c_void) -> bool {
    // SAFETY: a node of the tree that is walked.
    match unsafe { tag(node) } {
        None => false,
        Some(NodeTag::T_SubLink) => true,
        // SAFETY: a valid node, and a callback that keeps the walker's contract.
        Some(_) => unsafe { server::walk(node, is_subquery_or_has_one, context) },
    }
}

type Walker = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> bool;

/// pgrx does not bind the walker of these majors: its callback has no parameter list there
/// (nodes/nodeFuncs.h).
#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
mod server {
    use super::*;

    unsafe extern "C-unwind" {
        fn raw_expression_tree_walker(node: *mut Node, walker: Walker, ctx: *mut c_void) -> bool;
    }

    pub unsafe fn walk(node: *mut Node, walker: Walker, context: *mut c_void) -> bool {
        // SAFETY: the caller's arguments.
        let walk = || unsafe { raw_expression_tree_walker(node, walker, context) };
        // SAFETY: the guard turns an ERROR into a panic; the closure has nothing to drop.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(walk) }
    }
}

#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
mod server {
    use super::*;

    pub unsafe fn walk(node: *mut Node, walker: Walker, context: *mut c_void) -> bool {
        // SAFETY: the caller's arguments.
        unsafe { pg_sys::raw_expression_tree_walker_impl(node, Some(walker), context) }
    }
}
