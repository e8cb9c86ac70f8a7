//! Tables of this database: found by name, locked against being dropped or given away, and judged.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;

use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::ffi::catalog;
use crate::query;

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
    /// Finds and locks (ACCESS SHARE, to the end of the transaction) what has this name.
    pub fn lock(schema: &str, name: &str) -> Result<Option<Self>> {
        let Some(oid) = catalog::lock_relation(schema, name) else { return Ok(None) };
        let facts = query::rows(
            "SELECT c.relowner, c.relkind::pg_catalog.text, c.relpersistence OPERATOR(pg_catalog.=) 't', \
                    c.oid OPERATOR(pg_catalog.<) 16384 \
                      OR n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog', 'pg_toast', 'information_schema']::pg_catalog.name[]) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             WHERE c.oid OPERATOR(pg_catalog.=) $1",
            &[DatumWithOid::from(oid)],
            |row| {
                Ok(Self {
                    oid,
                    schema: schema.to_owned(),
                    name: name.to_owned(),
                    owner: row.get(1)?.unwrap_or(Oid::INVALID),
                    kind: row.get::<&str>(2)?.and_then(|kind| kind.chars().next()).unwrap_or('?'),
                    temporary: row.get(3)?.unwrap_or(true),
                    system: row.get(4)?.unwrap_or(true),
                })
            },
        )?;
        Ok(facts.into_iter().next())
    }

    /// `schema.table`, for messages.
    pub fn label(&self) -> String {
        label(&self.schema, &self.name)
    }

    /// Only ordinary and partitioned tables outside the catalogs and temporary schemas take part in
    /// replication. Binds superusers too.
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

    /// 42501 unless the caller has the owner's rights.
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
