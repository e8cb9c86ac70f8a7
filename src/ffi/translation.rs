//! PostgreSQL's messages in the language that lc_messages names. Called by the log hook: it raises nothing
//! and allocates nothing through PostgreSQL.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

// Of the C library that the server uses for its own messages. Without a translation it returns its argument.
unsafe extern "C" {
    fn dgettext(domain: *const c_char, text: *const c_char) -> *const c_char;
}

/// The server's own catalog of messages (PG_TEXTDOMAIN, c.h, 13 to 18).
const DOMAIN: &CStr = {
    #[cfg(feature = "pg13")]
    let domain = c"postgres-13";
    #[cfg(feature = "pg14")]
    let domain = c"postgres-14";
    #[cfg(feature = "pg15")]
    let domain = c"postgres-15";
    #[cfg(feature = "pg16")]
    let domain = c"postgres-16";
    #[cfg(feature = "pg17")]
    let domain = c"postgres-17";
    #[cfg(feature = "pg18")]
    let domain = c"postgres-18";
    domain
};

/// A message of the server's, as a report shows it.
pub fn translated(message: &'static CStr) -> &'static [u8] {
    // SAFETY: reads a variable of this process. In trouble elog.c translates nothing either.
    if unsafe { pg_sys::in_error_recursion_trouble() } {
        return message.to_bytes();
    }
    // SAFETY: two C strings.
    let translated = unsafe { dgettext(DOMAIN.as_ptr(), message.as_ptr()) };
    // SAFETY: a text of a catalog that is never unloaded, or the argument.
    unsafe { CStr::from_ptr(translated) }.to_bytes()
}
