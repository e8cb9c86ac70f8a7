//! The plan of a statement, as data. The function is SECURITY INVOKER: code that planning runs
//! (immutable functions with constant arguments) has the caller's rights, as with a plain EXPLAIN.

use std::ffi::CString;

use pgmig_core::limits;
use pgrx::prelude::*;

use crate::argument;
use crate::error::{Error, Kind, Result, entry};
use crate::ffi::argument::Text;
use crate::ffi::call::Call;
use crate::ffi::{parser, plan};

/// Text and json are bytes in the encoding of the database.
#[pg_extern(sql = false)]
fn explain_statement(arg_query: Text, call: Call) {
    entry(|| explain(&arg_query, call))
}

/// Of a text with several statements, EXPLAIN would explain the first, and the others would run.
fn explain(query: &Text, call: Call) -> Result<()> {
    let explain = statement(argument::bytes(query, "arg_query", limits::STATEMENT)?)?;
    if !parser::is_one_explain(&explain) {
        return Err(Error::new(Kind::SyntaxError, "only one statement can be explained")
            .hint("Call the function once for each statement."));
    }
    plan::return_lines(call, &explain);
    Ok(())
}

/// The only copy of the text that Rust allocates, in its exact size.
fn statement(query: &[u8]) -> Result<CString> {
    const EXPLAIN: &[u8] = b"EXPLAIN (FORMAT JSON) ";
    let length = EXPLAIN.len() + query.len() + 1;
    let mut text = Vec::new();
    text.try_reserve_exact(length).map_err(|_| limits::out_of_memory(length))?;
    text.extend_from_slice(EXPLAIN);
    text.extend_from_slice(query);
    Ok(CString::new(text).expect("a text has no NUL"))
}
