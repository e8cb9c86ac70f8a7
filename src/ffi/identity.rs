//! Roles. Called by `caller.rs`, inside a transaction.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

pub fn outer_user() -> Oid {
    // SAFETY: reads a backend-local variable that is set once a user is logged in.
    unsafe { pg_sys::GetOuterUserId() }
}

/// Whether PostgreSQL switched to the owner of a table, to run code of the owner's for a user who
/// does not trust it: maintenance (index expressions), an action of a foreign key (ri_triggers.c).
pub fn runs_for_a_table_owner() -> bool {
    // SAFETY: reads a backend-local variable.
    let restricted = unsafe { pg_sys::InSecurityRestrictedOperation() };
    // SAFETY: reads a backend-local variable.
    restricted || unsafe { pg_sys::InNoForceRLSOperation() }
}

pub fn is_superuser(role: Oid) -> bool {
    // SAFETY: a catalog cache look-up; a role that is gone is no superuser.
    unsafe { pg_sys::superuser_arg(role) }
}

pub fn has_rights_of(member: Oid, role: Oid) -> bool {
    // SAFETY: a catalog cache look-up on two oids.
    unsafe { pg_sys::has_privs_of_role(member, role) }
}

pub fn may_apply_as(member: Oid, owner: Oid) -> bool {
    #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
    return has_rights_of(member, owner);
    #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
    // SAFETY: a catalog cache look-up on two oids.
    return unsafe { pg_sys::member_can_set_role(member, owner) };
}

/// The role's name, or an ERROR for a role that is gone.
pub fn role_name(role: Oid) -> String {
    // SAFETY: with noerr = false it returns a palloc'd C string or raises.
    let name = unsafe { pg_sys::GetUserNameFromId(role, false) };
    // SAFETY: see above; copied before anything could free it.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}
