//! Keeps connection strings out of what others can read.
//!
//! A statement that carries one would show up in pg_stat_activity, in the STATEMENT line of an
//! error, in the CONTEXT of a surrounding function and in the lines of log_min_duration_statement.
//! Lines that the server writes before it runs the statement (log_statement, the parameters of a
//! bind) can be redacted only where the library is loaded already, for example preloaded.

use crate::ffi::activity::{self, WithoutContext};

/// Functions that are given a connection string. Slots with the schema, since PostgreSQL has
/// functions whose names end alike.
const SECRET_CALLS: &[&str] = &[
    "create_subscription",
    "dblink_slot_create_or_drop",
    "alter_subscription_connection",
    "pgmig_extras.create_replication_slot",
    "pgmig_extras.drop_replication_slot",
];

pub fn install() {
    activity::install_log_hook();
}

/// To be called first by every function that is given a connection string, and held to its end.
pub fn hide_statement(function: &str) -> WithoutContext {
    hide_call_of("pgmig_extras", function)
}

/// The same for a function of another extension of this library.
pub fn hide_call_of(schema: &str, function: &str) -> WithoutContext {
    activity::hide_statement(&format!("SELECT {schema}.{function}(<hidden>)"))
}

/// Whether a statement calls one of these functions, as far as its text tells.
pub fn names_a_secret(statement: &[u8]) -> bool {
    secret_call(statement).is_some()
}

/// A log line cut where it quotes the statement, where it names one of these functions, or, of more
/// than one line, after the first. `marked`: one of them runs, though the statement need not name it.
pub fn redacted(message: &[u8], statement: &[u8], marked: bool) -> Option<Vec<u8>> {
    let parts: [&[u8]; 2] = if marked { [statement, b"\n"] } else { [b"", b""] };
    let quoted = parts.iter().filter_map(|part| find(message, part));
    let cut = quoted.chain(secret_call(message)).min()?;
    Some([&message[..cut], b"<hidden>"].concat())
}

fn secret_call(text: &[u8]) -> Option<usize> {
    SECRET_CALLS.iter().filter_map(|call| find(text, call.as_bytes())).min()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    text.windows(part.len()).position(|window| window == part)
}
