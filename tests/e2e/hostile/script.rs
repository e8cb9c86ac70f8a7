//! What a publisher is told to do.

/// How the publisher misbehaves, and when.
#[derive(Debug, Clone)]
pub struct Twist {
    pub when: Moment,
    pub what: Behaviour,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// The connection is accepted.
    Accept,
    /// TLS is declined and the startup message read.
    Startup,
    /// The same for a startup message that has this text in it.
    StartupOf(&'static str),
    /// The password is accepted, before the server is ready for a query.
    Login,
    /// A query that has this text in it; it is not carried out.
    Query(&'static str),
    /// The answer to a query that has this text in it; it was carried out.
    Answer(&'static str),
}

/// Any query at all.
pub const ANY_QUERY: Moment = Moment::Query("");

#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Says nothing until the other side goes away.
    Silence,
    /// Announces a message of this type and sends its beginning.
    HalfMessage(u8),
    /// Sends a row, and then no end of the result.
    HalfResult,
    /// A small row now and then, for ever.
    Drip,
    /// Rows as fast as they go, for ever.
    Flood,
    /// Notices as fast as they go, for ever.
    Notices,
    /// Parameters as fast as they go, each with a name of its own, for ever.
    Parameters,
    /// A row of as many NULLs as the protocol allows, for ever.
    WideRows,
    /// A message of this type that is announced as 1 GB long, as fast as it goes.
    LongMessage(u8),
    /// A message of this type and content, and nothing more.
    Message(u8, &'static [u8]),
    /// Asks for SCRAM with so many iterations.
    Scram(u32),
    /// Bytes that are no message.
    Garbage,
    /// Closes the connection.
    HangUp,
    /// An error of the publisher.
    Error(&'static str, String),
    /// A result of these rows.
    Rows(Vec<Row>),
    /// The same, after which it goes on as if nothing had been.
    Answer(Vec<Row>),
}

/// Values of a row, `None` for NULL; bytes, since a liar need not send UTF-8.
pub type Row = Vec<Option<Vec<u8>>>;

/// What the publisher says.
#[derive(Debug, Clone)]
pub struct Script {
    /// Whether it asks for a password (and takes any).
    pub asks_for_password: bool,
    /// Tables that every publication has, as (schema, table).
    pub tables: Vec<(String, String)>,
    /// Transactions that are streamed: each a list of rows to insert.
    pub transactions: Vec<Vec<Insert>>,
    /// Rows of every table, in the text format of COPY.
    pub copy: Vec<String>,
    pub twists: Vec<Twist>,
}

/// A row for a table, with the columns that the publisher claims it has.
#[derive(Debug, Clone)]
pub struct Insert {
    pub schema: &'static str,
    pub table: &'static str,
    pub values: Vec<(&'static str, String)>,
}
