//! PostgreSQL's messages in the language that lc_messages names. Called by the log hook: it raises nothing
//! and allocates nothing through PostgreSQL.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

// Of the C library that the server uses for its own messages. Without a translation it returns its argument.
unsafe extern "C" {
    fn dgettext(domain: *const c_char, text: *const c_char) -> *const c_char;
}

/// Whose messages (PG_TEXTDOMAIN, c.h, 13 to 18).
#[derive(Clone, Copy)]
pub enum Catalog {
    Server,
    PlPgSql,
}

macro_rules! catalogs {
    ($($feature:literal: $server:literal, $plpgsql:literal;)*) => {
        impl Catalog {
            fn name(self) -> &'static CStr {
                $(
                    #[cfg(feature = $feature)]
                    let (server, plpgsql) = ($server, $plpgsql);
                )*
                match self {
                    Self::Server => server,
                    Self::PlPgSql => plpgsql,
                }
            }
        }
    };
}

catalogs! {
    "pg13": c"postgres-13", c"plpgsql-13";
    "pg14": c"postgres-14", c"plpgsql-14";
    "pg15": c"postgres-15", c"plpgsql-15";
    "pg16": c"postgres-16", c"plpgsql-16";
    "pg17": c"postgres-17", c"plpgsql-17";
    "pg18": c"postgres-18", c"plpgsql-18";
}

/// A message of the server's, as a report shows it.
pub fn translated(catalog: Catalog, message: &'static CStr) -> &'static [u8] {
    // SAFETY: reads a variable of this process. In trouble elog.c translates nothing either.
    if unsafe { pg_sys::in_error_recursion_trouble() } {
        return message.to_bytes();
    }
    // SAFETY: two C strings.
    let translated = unsafe { dgettext(catalog.name().as_ptr(), message.as_ptr()) };
    // SAFETY: a text of a catalog that is never unloaded, or the argument.
    unsafe { CStr::from_ptr(translated) }.to_bytes()
}
