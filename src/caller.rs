//! The caller and its rights. All rights are checked for the outer user (the login role, or the role
//! set by SET ROLE), never for `session_user` or the owner of a SECURITY DEFINER function in between.

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use crate::error::{Result, denied, entry};
use crate::ffi::identity;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller(Oid);

impl Caller {
    /// The caller, if this runs in the caller's own statement. PostgreSQL runs some code by itself, for
    /// example in a trigger. That code's author would use the rights of the role that triggers it.
    pub fn current() -> Result<Self> {
        if identity::runs_for_somebody_else() {
            return Err(denied("functions of pgmig_extras in code that PostgreSQL runs by itself")
                .detail(
                    "A trigger, an index expression or a materialized view calls it, \
                     or an apply worker or a parallel worker does.",
                )
                .hint("Call the function from a statement of your own."));
        }
        Ok(Self(identity::outer_user()))
    }

    pub fn oid(self) -> Oid {
        self.0
    }

    pub fn name(self) -> String {
        identity::role_name(self.0)
    }

    pub fn is_superuser(self) -> bool {
        identity::is_superuser(self.0)
    }

    /// The role whose rights apply when the caller uses a string stored by `owner`: the owner if the
    /// caller is a superuser, else the caller.
    pub fn together_with(self, owner: Oid) -> Self {
        if self.is_superuser() { Self(owner) } else { self }
    }

    /// Whether the caller has the rights of `role`, by the rule of PostgreSQL's ownership checks.
    pub fn has_rights_of(self, role: Oid) -> bool {
        identity::has_rights_of(self.0, role)
    }

    /// Whether the apply worker of a subscription of the caller's may write to a table of `owner`.
    /// Since 16 the worker switches to the table's owner; before, it uses inherited rights.
    pub fn may_apply_as(self, owner: Oid) -> bool {
        identity::may_apply_as(self.0, owner)
    }
}

/// The caller, for SQL functions of this extension.
#[pg_extern(sql = false)]
fn caller() -> Oid {
    entry(Caller::current).oid()
}
