//! Tables of this database: found by name, locked against a drop or a new owner, and checked.

use pgrx::pg_sys::Oid;

use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::ffi::relation;

/// FirstNormalObjectId (access/transam.h).
const FIRST_USER_OID: u32 = 16_384;
/// information_schema is made by initdb, but not pinned.
const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "pg_toast", "information_schema"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub owner: Oid,
    kind: char,
    temporary: bool,
    system: bool,
}

impl Table {
    /// Finds the relation of this name and locks it (ACCESS SHARE, to the end of the transaction).
    pub fn lock(schema: &str, name: &str) -> Result<Option<Self>> {
        let Some(oid) = relation::lock_relation(schema, name) else { return Ok(None) };
        let facts = relation::relation_facts(oid);
        Ok(facts.map(|facts| Self {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
            owner: facts.owner,
            kind: facts.kind,
            temporary: facts.persistence == 't',
            system: oid.to_u32() < FIRST_USER_OID || SYSTEM_SCHEMAS.contains(&schema),
        }))
    }

    /// `schema.table`, for messages.
    pub fn label(&self) -> String {
        label(&self.schema, &self.name)
    }

    /// Only ordinary and partitioned tables outside the catalogs and temporary schemas can be
    /// replicated. This also binds superusers.
    pub fn check_kind(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::new(Kind::WrongObjectType, why));
        if self.system {
            return wrong(format!("\"{}\" is a system catalog", self.label()));
        }
        if self.temporary {
            return wrong(format!("\"{}\" is a temporary table", self.label()));
        }
        if !matches!(self.kind, 'r' | 'p') {
            return wrong(format!("\"{}\" is not a table", self.label()));
        }
        Ok(())
    }

    /// 42501 if the caller lacks the owner's rights.
    pub fn check_owner(&self, caller: Caller) -> Result<()> {
        if caller.has_rights_of(self.owner) {
            return Ok(());
        }
        Err(self.not_owner(caller))
    }

    pub fn not_owner(&self, caller: Caller) -> Error {
        Error::new(
            Kind::InsufficientPrivilege,
            format!("must be owner of table \"{}\"", self.label()),
        )
        .detail(format!("Role \"{}\" does not have the rights of its owner.", caller.name()))
        .hint("Ask its owner to run this, or to grant you membership in the owning role.")
    }
}

pub fn label(schema: &str, name: &str) -> String {
    format!("{schema}.{name}")
}
