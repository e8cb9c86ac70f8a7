//! Loading a library of the server's own. Called by `auto_explain.rs`.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Loads a library once; an ERROR when the server does not have it.
pub fn load(name: &'static CStr) {
    // SAFETY: a name without a path, looked for where the server keeps its libraries.
    unsafe { pg_sys::load_file(name.as_ptr(), false) }
}
