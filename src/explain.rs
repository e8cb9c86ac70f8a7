//! The plan of a statement, as data. With the rights of whoever calls: the function is SECURITY
//! INVOKER, and what planning runs (immutable functions with constant arguments) runs as for a plain
//! EXPLAIN.

use std::ffi::CString;

use pgrx::prelude::*;

use crate::error::{Error, Kind, Result, raise};
use crate::ffi::{parser, plan};

/// Text and json are bytes in the encoding of the database, whatever that is.
#[pg_extern(sql = false)]
fn explain_statement(arg_query: &[u8]) -> SetOfIterator<'static, Vec<u8>> {
    SetOfIterator::new(raise(explain(arg_query)))
}

/// A text with several statements would run all but the first.
fn explain(query: &[u8]) -> Result<Vec<Vec<u8>>> {
    let explain = [b"EXPLAIN (FORMAT JSON) ", query].concat();
    let explain = CString::new(explain).expect("a text has no NUL");
    if !parser::is_one_explain(&explain) {
        return Err(Error::new(Kind::SyntaxError, "only one statement can be explained")
            .hint("Call the function once for each statement."));
    }
    Ok(plan::lines(&explain))
}
