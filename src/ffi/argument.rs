//! Arguments of SQL functions that can have any size, as the function manager passes them. The size is
//! known before a value is decompressed, fetched or copied. Called by `argument.rs`.

use std::ffi::CStr;
use std::marker::PhantomData;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::Array;
use pgrx::pg_sys::{self, Datum};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, direct_function_call};

/// A text, not NULL.
#[derive(Clone, Copy)]
pub struct Text<'a>(Datum, PhantomData<&'a [u8]>);

/// A text[], not NULL.
pub struct TextArray<'a>(Datum, PhantomData<&'a [u8]>);

/// A jsonb, not NULL.
pub struct Jsonb<'a>(Datum, PhantomData<&'a [u8]>);

impl<'a> Text<'a> {
    pub fn size(&self) -> usize {
        // SAFETY: of this type, and not NULL.
        unsafe { size(self.0) }
    }

    /// In the encoding of the database.
    pub fn bytes(&self) -> &'a [u8] {
        // SAFETY: a text that is not NULL, which outlives the call, as its copy would.
        let bytes: Option<&[u8]> = unsafe { FromDatum::from_datum(self.0, false) };
        bytes.unwrap_or_default()
    }
}

impl<'a> TextArray<'a> {
    /// The size of the whole array, with its overhead for each element.
    pub fn size(&self) -> usize {
        // SAFETY: of this type, and not NULL.
        unsafe { size(self.0) }
    }

    pub fn elements(&self) -> Array<'a, &'a [u8]> {
        // SAFETY: a text[] that is not NULL, which outlives the call, as its copy would.
        let array = unsafe { FromDatum::from_datum(self.0, false) };
        array.expect("it is not NULL")
    }
}

impl Jsonb<'_> {
    /// As it is stored. The text may be much longer: 1e100000 is a few bytes here.
    pub fn size(&self) -> usize {
        // SAFETY: of this type, and not NULL.
        unsafe { size(self.0) }
    }

    /// Runs `work` on the text, in the encoding of the database and in PostgreSQL's own memory.
    pub fn with_text<T>(&self, work: impl FnOnce(&[u8]) -> T) -> T {
        // SAFETY: a jsonb that is not NULL; a copy where it is compressed or out of line.
        let whole = unsafe { pg_sys::pg_detoast_datum(self.0.cast_mut_ptr()) };
        // SAFETY: the output function of the argument's type; raises, or returns a C string.
        let text: Option<&CStr> =
            unsafe { direct_function_call(pg_sys::jsonb_out, &[Some(Datum::from(whole))]) };
        let text = text.expect("a type's output is not NULL");
        let value = work(text.to_bytes());
        // SAFETY: a string of this call's own, which `work` has not kept.
        unsafe { pg_sys::pfree(text.as_ptr().cast_mut().cast()) };
        value
    }
}

/// The bytes of a value once it is fetched and decompressed, without its header.
///
/// # Safety
/// The value has a type of variable length and is not NULL.
pub(super) unsafe fn size(datum: Datum) -> usize {
    // SAFETY: the caller's word.
    let raw = unsafe { pg_sys::toast_raw_datum_size(datum) };
    raw.saturating_sub(pg_sys::VARHDRSZ)
}

/// Whether texts of this database are UTF-8, or of no encoding that is known.
pub fn may_be_utf8() -> bool {
    // SAFETY: reads a variable of this process.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    [pg_sys::pg_enc::PG_UTF8, pg_sys::pg_enc::PG_SQL_ASCII].contains(&(encoding as _))
}

macro_rules! argument {
    ($type:ident, $sql:literal) => {
        // SAFETY: takes the value as it is; what it is read as is its SQL type.
        unsafe impl<'fcx> ArgAbi<'fcx> for $type<'fcx> {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                // SAFETY: the value itself, of whatever type.
                let datum = unsafe { arg.unbox_arg_using_from_datum::<Raw>() };
                Self(datum.expect("a function that takes no NULL is strict").0, PhantomData)
            }
        }

        // SAFETY: the type in sql/, which is written by hand.
        unsafe impl SqlTranslatable for $type<'_> {
            const TYPE_IDENT: &'static str = concat!("pgmig_extras::", stringify!($type));
            const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
            const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
                Ok(SqlMappingRef::literal($sql));
            const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Err(ReturnsError::Datum);
        }
    };
}

argument!(Text, "text");
argument!(TextArray, "text[]");
argument!(Jsonb, "jsonb");

/// A value that was not read yet.
struct Raw(Datum);

impl FromDatum for Raw {
    unsafe fn from_polymorphic_datum(
        datum: Datum,
        is_null: bool,
        _type: pg_sys::Oid,
    ) -> Option<Self> {
        (!is_null).then_some(Self(datum))
    }
}
