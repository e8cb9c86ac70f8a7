//! The one error type. Messages follow PostgreSQL's style guide: the primary message is lower case
//! without a full stop, detail and hint are sentences. The extension's `error.rs` maps `Kind` to a
//! SQLSTATE.

/// What went wrong, in the classes that a caller can tell apart by SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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
    pub hint: Option<Hint>,
}

/// What to do about an error: a sentence, or one that names a function of the extension, whose schema
/// depends on the extension that the caller uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    Text(String),
    Call { before: String, function: &'static str, after: String },
}

impl Hint {
    pub fn call(before: &str, function: &'static str, after: impl Into<String>) -> Self {
        Self::Call { before: before.to_owned(), function, after: after.into() }
    }

    /// `schema`: of a function by its name.
    pub fn into_text(self, schema: impl Fn(&str) -> &'static str) -> String {
        match self {
            Self::Text(text) => text,
            Self::Call { before, function, after } => {
                format!("{before}{}.{function}{after}", schema(function))
            }
        }
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
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

    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A bad argument: 22023.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidParameter, message)
}
