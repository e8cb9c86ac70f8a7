//! The one error type. Messages follow PostgreSQL's style guide: the primary message is lower case
//! without a full stop, detail and hint are sentences. The extension's `error.rs` maps `Kind` to a
//! SQLSTATE.

/// What went wrong, in the classes that a caller can tell apart by SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not an error: a NOTICE or a line of the log.
    Success,
    /// Not an error: a WARNING.
    Warning,
    InsufficientPrivilege,
    UndefinedObject,
    UndefinedTable,
    DuplicateObject,
    InvalidParameter,
    InvalidName,
    NameTooLong,
    NullNotAllowed,
    SyntaxError,
    WrongObjectType,
    ObjectNotInPrerequisiteState,
    FeatureNotSupported,
    LimitExceeded,
    OutOfMemory,
    ConnectionRefused,
    ConnectionLost,
    PublisherError,
    QueryCanceled,
    LockNotAvailable,
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None, hint: None }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A bad argument: 22023.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidParameter, message)
}
