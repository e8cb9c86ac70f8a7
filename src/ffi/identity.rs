//! Roles. Called by `caller.rs`, inside a transaction.

use std::ffi::CStr;

use pgrx::direct_function_call;
use pgrx::pg_sys::{self, Oid};

/// The predefined role (pg_authid.dat).
pub const PG_MONITOR: Oid = Oid::from_u32(3373);

pub fn outer_user() -> Oid {
    // SAFETY: reads a backend-local variable that is set once a user is logged in.
    unsafe { pg_sys::GetOuterUserId() }
}

/// The role that logged in, or that a superuser set instead. SET ROLE does not change it.
pub fn session_user() -> Oid {
    // SAFETY: reads a backend-local variable that is set once a user is logged in.
    unsafe { pg_sys::GetSessionUserId() }
}

/// Whether PostgreSQL runs this code by itself, and not a statement of the outer user's own. Often it
/// runs as the code's owner, whom the outer user need not know:
/// - maintenance and refreshes run index expressions and views, and since 16 apply workers run what
///   an inserted row fires, each as the owner of the table (SwitchToUntrustedUser, usercontext.c);
/// - foreign keys act as the owner of the referencing table (ri_triggers.c), whose triggers fire, and
///   since 18 triggers after the row also run as the role that queued them (AfterTriggerExecute);
/// - a parallel worker does not know for which trigger it works.
pub fn runs_for_somebody_else() -> bool {
    // SAFETY: reads a backend-local variable.
    let restricted = unsafe { pg_sys::InSecurityRestrictedOperation() };
    // SAFETY: reads a backend-local variable.
    let in_apply_worker = unsafe { pg_sys::IsLogicalWorker() };
    // SAFETY: reads a variable that is set when a process starts.
    let in_parallel_worker = unsafe { pg_sys::ParallelWorkerNumber } >= 0;
    restricted || in_apply_worker || in_parallel_worker || trigger_depth() > 0
}

fn trigger_depth() -> i32 {
    // SAFETY: a function without arguments that reads a backend-local variable.
    unsafe { direct_function_call(pg_sys::pg_trigger_depth, &[]) }.unwrap_or(0)
}

pub fn is_superuser(role: Oid) -> bool {
    // SAFETY: a catalog cache look-up; a role that is gone is no superuser.
    unsafe { pg_sys::superuser_arg(role) }
}

/// Whether a role may have replication slots: a superuser, or one with REPLICATION.
pub fn may_replicate(role: Oid) -> bool {
    // SAFETY: a catalog cache look-up.
    is_superuser(role) || unsafe { pg_sys::has_rolreplication(role) }
}

pub fn has_rights_of(member: Oid, role: Oid) -> bool {
    // SAFETY: a catalog cache look-up on two oids.
    unsafe { pg_sys::has_privs_of_role(member, role) }
}

#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
pub fn may_apply_as(member: Oid, owner: Oid) -> bool {
    has_rights_of(member, owner)
}

#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
pub fn may_apply_as(member: Oid, owner: Oid) -> bool {
    // SAFETY: a catalog cache look-up on two oids.
    unsafe { pg_sys::member_can_set_role(member, owner) }
}

/// The role's name, or an ERROR for a role that is gone.
pub fn role_name(role: Oid) -> String {
    // SAFETY: with noerr = false it returns a palloc'd C string or raises.
    let name = unsafe { pg_sys::GetUserNameFromId(role, false) };
    // SAFETY: see above; copied before anything could free it.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}
