//! From `pgmig_core::Error` to PostgreSQL's: the only place that names SQLSTATEs.

pub use pgmig_core::error::invalid;
pub use pgmig_core::{Error, Kind, Result};

use pgmig_core::limits::echo;
use pgmig_core::secret;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

use crate::ffi::{self, activity};

/// The value, or an ERROR.
pub fn raise<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| {
        report(PgLogLevel::ERROR, error);
        unreachable!("an ERROR does not return")
    })
}

/// Reports at `level`; at ERROR it does not return. What quotes a long text is cut, and whatever the
/// texts repeat, no secret is in them.
pub fn report(level: PgLogLevel, error: Error) {
    let error = without_secrets(error);
    let mut report = ErrorReport::new(sqlstate(error.kind), echo(error.message), "pgmig_extras");
    if let Some(detail) = error.detail {
        report = report.set_detail(echo(detail));
    }
    if let Some(hint) = error.hint {
        report = report.set_hint(echo(hint));
    }
    if level >= PgLogLevel::ERROR { report.report(level) } else { ffi::report::send(level, report) }
}

/// An error whose texts repeat no secret.
fn without_secrets(error: Error) -> Error {
    let known = activity::known();
    let masked = |text: String| match secret::masked(text.as_bytes(), secret::Kind::Text, &known) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(masked) => String::from_utf8_lossy(&masked).into_owned(),
    };
    Error {
        message: masked(error.message),
        detail: error.detail.map(masked),
        hint: error.hint.map(masked),
        ..error
    }
}

fn sqlstate(kind: Kind) -> PgSqlErrorCode {
    use PgSqlErrorCode::*;
    match kind {
        Kind::Success => ERRCODE_SUCCESSFUL_COMPLETION,
        Kind::Warning => ERRCODE_WARNING,
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

/// A NOTICE, with a hint where there is something to do.
pub fn notice(message: impl Into<String>, hint: Option<String>) {
    let mut notice = Error::new(Kind::Success, message);
    notice.hint = hint;
    report(PgLogLevel::NOTICE, notice);
}

/// 42501, naming the role that lacks the right.
pub fn denied(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::InsufficientPrivilege, format!("permission denied for {what}"))
}

/// What SPI says when a query is not what it was thought to be.
pub fn internal(error: pgrx::spi::SpiError) -> Error {
    Error::new(Kind::Internal, format!("unexpected answer of SPI: {error}"))
}
