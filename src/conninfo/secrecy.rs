//! Keeps secrets out of what others can read: the server's log, pg_stat_activity, and errors.
//!
//! Once the library is loaded, secrets are masked in every line of the log. Nothing else of a line is
//! cut, because an audit reads it. A secret that a statement assembles from parts is recognized by its
//! value, once one of our functions has received it. Lines that the server writes before that, such as
//! those of log_statement, are masked only if the library is preloaded, and only where a secret is
//! written as one.
//!
//! Where the library is loaded, every line of the log is looked through and secrets in it are masked;
//! nothing else of it is cut, whatever the statement calls, since an audit reads it. Secrets that a
//! statement puts together from pieces are known by their value from when a function of ours is given
//! them. Lines that the server writes before that, such as those of log_statement, are looked through
//! only where the library is preloaded, and only for what is written like a secret.

use std::ffi::CString;

use pgmig_core::secret::{self, Known};
use pgmig_core::{conninfo, limits};

use crate::argument::Text;
use crate::ffi::activity;
use crate::ffi::libpq;

/// Runs the body of a function that receives a connection string. From now on, to the end of the
/// statement, the string's secrets are known, and reports have no CONTEXT. `others`: the function's
/// other texts, because a caller may swap arguments.
pub fn concealing<R>(conninfo: &Text, others: &[&Text], work: impl FnOnce() -> R) -> R {
    let mut known = activity::known();
    // A text that is no connection string is not noted as a whole: every equal text would be masked.
    for text in others.iter().chain([&conninfo]).filter_map(|text| short(text)) {
        note(&mut known, text);
    }
    activity::concealing(known, work)
}

/// Longer arguments are refused by the function itself, and are not read here.
fn short<'a>(argument: &Text<'a>) -> Option<&'a [u8]> {
    argument.filter(|text| text.size() <= limits::TEXT).map(|text| text.bytes())
}

/// Notes the secrets of a text, if it has any.
fn note(known: &mut Known, text: &[u8]) {
    secret::written_in(text).for_each(|value| known.note(value));
    let looks_like_one = text.contains(&b'=') || text.windows(3).any(|part| part == b"://");
    if !looks_like_one {
        return;
    }
    let parsed = CString::new(text).ok().and_then(|text| libpq::parse_conninfo_bytes(&text));
    for (keyword, value) in parsed.iter().flatten() {
        if conninfo::is_harmless(keyword) {
            secret::written_in(value).for_each(|value| known.note(value));
        } else {
            known.note(value);
        }
    }
}
