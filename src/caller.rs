//! Who called, and what that role may do. Every check of this extension is made against the outer
//! user (the login role, or the role taken by SET ROLE), never `session_user` and never the owner
//! of a SECURITY DEFINER function on the way here.

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use crate::error::{Result, denied, entry};
use crate::ffi::identity;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller(Oid);

impl Caller {
    /// The caller, if this runs in a statement of the caller's own. Code that PostgreSQL runs by
    /// itself has another author, who would act with the rights of whoever analyses a table or
    /// deletes a row.
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

    /// Who answers for what `owner` may have written and the caller uses: the one of the two who is
    /// no superuser.
    pub fn together_with(self, owner: Oid) -> Self {
        if self.is_superuser() { Self(owner) } else { self }
    }

    /// Whether the caller has the rights of `role`, as PostgreSQL's own ownership checks ask.
    pub fn has_rights_of(self, role: Oid) -> bool {
        identity::has_rights_of(self.0, role)
    }

    /// Whether an apply worker of a subscription that the caller owns may write to a table of
    /// `owner`: since 16 it takes the owner's role, before it uses the rights that it inherits.
    pub fn may_apply_as(self, owner: Oid) -> bool {
        identity::may_apply_as(self.0, owner)
    }
}

/// The caller of the function that the SQL around this stands in.
#[pg_extern(sql = false)]
fn caller() -> Oid {
    entry(Caller::current).oid()
}
