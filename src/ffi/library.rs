//! Loads a library of the server. Called by `admin/auto_explain.rs`.

use pgrx::pg_sys;

/// Loads auto_explain once; an ERROR when the server does not have it.
pub fn load_auto_explain() {
    // SAFETY: a library of the server's own; a name without a path is looked for where those are.
    unsafe { pg_sys::load_file(c"auto_explain".as_ptr(), false) }
}
