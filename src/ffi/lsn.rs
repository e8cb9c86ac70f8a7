//! The SQL type pg_lsn: eight bytes by value.

use pgmig_core::lsn::Lsn;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, IntoDatum};

/// The type's oid: pg_type.dat gave the constant its name in 14.
#[cfg(feature = "pg13")]
pub(super) const TYPE: Oid = pg_sys::LSNOID;
#[cfg(any(
    feature = "pg14",
    feature = "pg15",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
pub(super) const TYPE: Oid = pg_sys::PG_LSNOID;

/// An LSN as a column or an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgLsn(pub Lsn);

impl FromDatum for PgLsn {
    unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _type: Oid) -> Option<Self> {
        (!is_null).then(|| Self(Lsn(datum.value() as u64)))
    }
}

impl IntoDatum for PgLsn {
    fn into_datum(self) -> Option<Datum> {
        Some(Datum::from(self.0.0))
    }

    fn type_oid() -> Oid {
        TYPE
    }
}

// SAFETY: takes the value, which is no pointer.
unsafe impl<'fcx> ArgAbi<'fcx> for PgLsn {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: any bits are an LSN.
        let lsn = unsafe { arg.unbox_arg_using_from_datum() };
        lsn.expect("a function that takes no NULL is strict")
    }
}

// SAFETY: the type in sql/, which is written by hand.
unsafe impl SqlTranslatable for PgLsn {
    const TYPE_IDENT: &'static str = "pgmig_extras::PgLsn";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("pg_lsn"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Err(ReturnsError::Datum);
}
