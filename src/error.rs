//! Turns `pgmig_core::Error` into PostgreSQL's errors. SQLSTATEs are named only here.

pub use pgmig_core::error::{Hint, invalid};
pub use pgmig_core::{Error, Kind, Result};

use std::borrow::Cow;

use pgmig_core::limits::echo;
use pgmig_core::secret::{self, Known};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

use crate::ffi::activity;

/// The schema of this extension's functions.
pub const SCHEMA: &str = "pgmig_extras";

/// The value, or an ERROR.
pub fn raise<T>(result: Result<T>) -> T {
    raise_for(|_| SCHEMA, result)
}

/// The same for another extension. `schema`: the schema of a function that a hint names.
pub fn raise_for<T>(schema: fn(&str) -> &'static str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| {
        let hint = error.hint.map(|hint| hint.into_text(schema));
        composed(sqlstate(error.kind), error.message, error.detail, hint).report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    })
}

/// The frame of every SQL function: runs its body, and raises its error.
pub fn entry<T>(body: impl FnOnce() -> Result<T>) -> T {
    raise(body())
}

/// A report of these texts: long ones are cut, and secrets are masked.
pub fn composed(
    sqlstate: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
) -> ErrorReport {
    let known = activity::known();
    let shown = |text: String| echo(without_secrets(text, &known));
    let mut report = ErrorReport::new(sqlstate, shown(message), "pgmig_extras");
    if let Some(detail) = detail {
        report = report.set_detail(shown(detail));
    }
    if let Some(hint) = hint {
        report = report.set_hint(shown(hint));
    }
    report
}

fn without_secrets(text: String, known: &Known) -> String {
    match secret::masked(text.as_bytes(), secret::Kind::Text, known) {
        Cow::Borrowed(_) => text,
        Cow::Owned(masked) => String::from_utf8_lossy(&masked).into_owned(),
    }
}

pub fn sqlstate(kind: Kind) -> PgSqlErrorCode {
    use PgSqlErrorCode::*;
    match kind {
        Kind::InsufficientPrivilege => ERRCODE_INSUFFICIENT_PRIVILEGE,
        Kind::UndefinedObject => ERRCODE_UNDEFINED_OBJECT,
        Kind::UndefinedTable => ERRCODE_UNDEFINED_TABLE,
        Kind::DuplicateObject => ERRCODE_DUPLICATE_OBJECT,
        Kind::InvalidParameter => ERRCODE_INVALID_PARAMETER_VALUE,
        Kind::InvalidName => ERRCODE_INVALID_NAME,
        Kind::NameTooLong => ERRCODE_NAME_TOO_LONG,
        Kind::NullNotAllowed => ERRCODE_NULL_VALUE_NOT_ALLOWED,
        Kind::SyntaxError => ERRCODE_SYNTAX_ERROR,
        Kind::WrongObjectType => ERRCODE_WRONG_OBJECT_TYPE,
        Kind::ObjectNotInPrerequisiteState => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        Kind::FeatureNotSupported => ERRCODE_FEATURE_NOT_SUPPORTED,
        Kind::LimitExceeded => ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        Kind::OutOfMemory => ERRCODE_OUT_OF_MEMORY,
        Kind::ConnectionRefused => ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
        Kind::ConnectionLost => ERRCODE_CONNECTION_FAILURE,
        Kind::PublisherError => ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
        Kind::QueryCanceled => ERRCODE_QUERY_CANCELED,
        Kind::LockNotAvailable => ERRCODE_LOCK_NOT_AVAILABLE,
        Kind::Internal => ERRCODE_INTERNAL_ERROR,
    }
}

/// 42501: permission denied for `what`.
pub fn denied(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::InsufficientPrivilege, format!("permission denied for {what}"))
}

/// An unexpected error of SPI.
pub fn internal(error: pgrx::spi::SpiError) -> Error {
    Error::new(Kind::Internal, format!("unexpected answer of SPI: {error}"))
}
