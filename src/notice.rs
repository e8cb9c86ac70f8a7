//! What is told without ending the statement: a NOTICE, a WARNING, a line of the log.

use pgmig_core::{Error, Kind};
use pgrx::{PgLogLevel, PgSqlErrorCode};

use crate::error::{SCHEMA, send, sqlstate};

#[must_use = "a notice is told by send()"]
pub struct Notice {
    level: PgLogLevel,
    sqlstate: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Notice {
    pub fn notice(message: impl Into<String>) -> Self {
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        Self::new(PgLogLevel::NOTICE, code, message)
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(PgLogLevel::WARNING, PgSqlErrorCode::ERRCODE_WARNING, message)
    }

    pub fn log(message: impl Into<String>) -> Self {
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        Self::new(PgLogLevel::LOG, code, message)
    }

    /// A line of the server's log that no client gets, whatever its `client_min_messages`.
    pub fn log_server_only(message: impl Into<String>) -> Self {
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        Self::new(PgLogLevel::LOG_SERVER_ONLY, code, message)
    }

    /// A WARNING with the texts and the SQLSTATE of an error that does not end the statement.
    pub fn warning_of(error: Error) -> Self {
        let Error { kind, message, detail, hint } = error;
        let hint = hint.map(|hint| hint.into_text(|_| SCHEMA));
        Self { detail, hint, ..Self::warning(message).sqlstate(kind) }
    }

    fn new(level: PgLogLevel, sqlstate: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self { level, sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// The SQLSTATE of an error, where callers are to tell it from other notices.
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
        send(self.level, self.sqlstate, self.message, self.detail, self.hint);
    }
}
