//! Acts as another role during a call. Called by `publication/` and `subscription/`, inside a
//! transaction.

use std::ffi::c_int;

use pgrx::pg_sys::{self, Oid};

/// Runs `work` with the rights of `role` only, as maintenance commands run the code of a table's owner
/// (SwitchToUntrustedUser, usercontext.c). The role cannot be changed from within, and changed settings
/// are restored.
pub fn as_role<R>(role: Oid, work: impl FnOnce() -> R) -> R {
    let _switched = Switched::to(role, pg_sys::SECURITY_RESTRICTED_OPERATION);
    work()
}

/// Runs `work` as `role`, as a SECURITY DEFINER function of that role's would.
pub fn as_definer<R>(role: Oid, work: impl FnOnce() -> R) -> R {
    let _switched = Switched::to(role, 0);
    work()
}

/// The role whose rights apply now. In a SECURITY DEFINER function it is the function's owner.
pub fn current_user() -> Oid {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetUserId() }
}

struct Switched {
    user: Oid,
    security_context: c_int,
    settings_level: c_int,
}

impl Switched {
    fn to(role: Oid, restriction: u32) -> Self {
        let (mut user, mut security_context) = (Oid::INVALID, 0);
        // SAFETY: two valid places to write to.
        unsafe { pg_sys::GetUserIdAndSecContext(&mut user, &mut security_context) };
        let change = (pg_sys::SECURITY_LOCAL_USERID_CHANGE | restriction) as c_int;
        // SAFETY: sets two backend-local variables, which an abort sets back too.
        unsafe { pg_sys::SetUserIdAndSecContext(role, security_context | change) };
        // SAFETY: opens a nest level, which the drop below or the abort ends.
        let settings_level = unsafe { pg_sys::NewGUCNestLevel() };
        Self { user, security_context, settings_level }
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the abort of the (sub)transaction restores both
        }
        // SAFETY: closes the level that was opened above, undoing what was set in it.
        unsafe { pg_sys::AtEOXact_GUC(false, self.settings_level) };
        // SAFETY: what GetUserIdAndSecContext returned.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.security_context) };
    }
}
