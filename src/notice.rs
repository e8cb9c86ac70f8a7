//! Reports that do not end the statement: NOTICE, WARNING, and lines of the log.

use pgmig_core::{Error, Kind};
use pgrx::PgSqlErrorCode;

use crate::error::{SCHEMA, composed, sqlstate};
use crate::ffi::report::{self, Level};

#[must_use = "a notice is told by send()"]
pub struct Notice {
    level: Level,
    sqlstate: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Notice {
    /// A NOTICE. Nothing is wrong.
    pub fn info(message: impl Into<String>) -> Self {
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        Self::new(Level::Notice, code, message)
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Level::Warning, PgSqlErrorCode::ERRCODE_WARNING, message)
    }

    pub fn log(message: impl Into<String>) -> Self {
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        Self::new(Level::Log, code, message)
    }

    /// A line of the server's log that no client gets, whatever its `client_min_messages`.
    pub fn log_server_only(message: impl Into<String>) -> Self {
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        Self::new(Level::LogServerOnly, code, message)
    }

    /// A WARNING with the texts and the SQLSTATE of an error.
    pub fn warning_of(error: Error) -> Self {
        let Error { kind, message, detail, hint } = error;
        let hint = hint.map(|hint| hint.into_text(|_| SCHEMA));
        Self { detail, hint, ..Self::warning(message).sqlstate(kind) }
    }

    fn new(level: Level, sqlstate: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self { level, sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// Sets the SQLSTATE of an error, so that callers can tell this report from others.
    pub fn sqlstate(self, kind: Kind) -> Self {
        Self { sqlstate: sqlstate(kind), ..self }
    }

    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub fn send(self) {
        report::send(self.level, composed(self.sqlstate, self.message, self.detail, self.hint));
    }
}
