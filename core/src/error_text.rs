//! What a user may see of an error that a replication worker reports: the kind of error, the
//! objects that it names, and the publisher's answer. Never a value of a row: the owner of the
//! subscription need not have the right to read the table.
//!
//! This code runs while an error is being reported, so it allocates no memory.

/// An error report of a worker, with the fields of ErrorData.
#[derive(Debug, Clone, Copy)]
pub struct Reported<'a> {
    pub sqlstate: i32,
    pub is_fatal: bool,
    pub message: &'a [u8],
    /// The untranslated format of the message, without its values.
    pub template: &'a [u8],
    /// The message catalog: "postgres-15" for the server itself, another name for a procedural
    /// language or an extension.
    pub domain: &'a [u8],
    pub context: &'a [u8],
}

/// Who wrote the text of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This server. Only names of objects are shown.
    Server,
    /// The publisher, after login. It may send any text.
    Publisher,
    /// A connection that could not be made. The cause may contain ports, files and host names.
    Connection,
}

/// `write` emits this in place of a value. It is one byte in every server encoding.
pub const VALUE: u8 = 1;

/// SQLSTATE classes whose messages, when the server itself reports them, name objects and never
/// values: feature not supported, integrity violation, transaction state, authorization, rollback,
/// resources, object state, intervention, system error.
const CLASSES: [&[u8; 2]; 9] = [b"0A", b"23", b"25", b"28", b"40", b"53", b"55", b"57", b"58"];
/// insufficient_privilege
const DENIED: i32 = packed(b"42501");
/// admin_shutdown and crash_shutdown: somebody terminated the worker.
const ENDED: [i32; 2] = [packed(b"57P01"), packed(b"57P02")];
const CONNECTION: &[u8; 2] = b"08";

/// Formats of the errors of a connection that could not be made (worker.c and tablesync.c, 13 to
/// 18).
const CONNECTING: [&str; 3] = [
    "could not connect to the publisher: %s",
    "apply worker for subscription \"%s\" could not connect to the publisher: %s",
    "table synchronization worker for subscription \"%s\" could not connect to the publisher: %s",
];
/// Formats that end with the publisher's answer, or with libpq's text about a lost connection
/// (libpqwalreceiver.c and tablesync.c, 13 to 18).
const ANSWERED: [&str; 15] = [
    START_STREAMING,
    IDENTIFY_SYSTEM,
    "could not receive data from WAL stream: %s",
    "could not send data to WAL stream: %s",
    "could not send end-of-streaming message to primary: %s",
    "error reading result of streaming command: %s",
    "error while shutting down streaming COPY: %s",
    "could not create replication slot \"%s\": %s",
    "could not drop replication slot \"%s\" on publisher: %s",
    "could not fetch table info for table \"%s.%s\" from publisher: %s",
    "could not fetch column list info for table \"%s.%s\" from publisher: %s",
    "could not fetch table WHERE clause info for table \"%s.%s\" from publisher: %s",
    "could not start initial contents copy for table \"%s.%s\": %s",
    "table copy could not start transaction on publisher: %s",
    "table copy could not finish transaction on publisher: %s",
];
const START_STREAMING: &str = "could not start WAL streaming: %s";
const IDENTIFY_SYSTEM: &str =
    "could not receive database system identifier and timeline ID from the primary server: %s";
/// Formats that name only objects, whatever their SQLSTATE.
const NAMING: [&str; 2] = [
    "table \"%s.%s\" not found on publisher",
    "terminating logical replication worker due to timeout",
];
/// What the leader reports after a parallel apply worker failed. That worker has reported the
/// cause.
const FOLLOWING: [&str; 2] = [
    "logical replication parallel apply worker exited due to error",
    "lost connection to the logical replication parallel apply worker",
];

const NO_CONNECTION: &[u8] =
    b"the connection to the publisher failed; the cause is in this server's log";
const RAISED: &[u8] = b"a function raised an exception; its text is in this server's log";
const PUBLISHER: &[u8] = b"the publisher reported: ";

/// Six bits per character, the first character in the lowest bits (MAKE_SQLSTATE, elog.h).
const fn packed(code: &[u8]) -> i32 {
    let (mut packed, mut at) = (0, 0);
    while at < code.len() {
        packed |= (code[at] as i32 - b'0' as i32) << (6 * at);
        at += 1;
    }
    packed
}

impl Reported<'_> {
    /// Whether the report says why a worker failed. A report that the worker was terminated, or
    /// that another one failed, does not.
    pub fn is_failure(&self) -> bool {
        !ENDED.contains(&self.sqlstate) && !self.is_one_of(&FOLLOWING)
    }

    /// Whether PostgreSQL counts the error in pg_stat_subscription_stats. It counts errors while a
    /// worker copies or streams (start_table_sync and start_apply, worker.c). It does not count a
    /// FATAL, an error that keeps a worker from streaming, or an apply worker's failure to connect.
    pub fn is_counted(&self, is_apply: bool) -> bool {
        let is_early =
            is_apply && (self.is_one_of(&CONNECTING) || self.is_one_of(&[IDENTIFY_SYSTEM]));
        !(self.is_fatal || is_early || self.is_one_of(&[START_STREAMING]))
    }

    pub fn source(&self) -> Source {
        if !self.is_servers() {
            Source::Server
        } else if self.is_one_of(&ANSWERED) {
            Source::Publisher
        } else if self.is_one_of(&CONNECTING) || self.is_of(CONNECTION) && !self.is_one_of(&NAMING)
        {
            Source::Connection
        } else {
            Source::Server
        }
    }

    /// Emits, piece by piece, what a user may see.
    pub fn write(&self, mut write: impl FnMut(&[u8])) {
        if self.source() == Source::Connection || !self.is_servers() && self.is_of(CONNECTION) {
            write(NO_CONNECTION);
        } else if !self.is_servers() || !has_words(self.template) {
            write(RAISED);
        } else if self.source() == Source::Publisher {
            write_answer(self.message, write);
        } else if self.names_objects() {
            write(self.message);
        } else {
            write_template(self.template, write);
        }
    }

    /// Emits where the error occurred, as `table "…", column "…": `. An apply worker's report has
    /// the table. A copy's report has only the column: the caller knows the table from the worker.
    pub fn write_place(&self, is_apply: bool, mut write: impl FnMut(&[u8])) {
        let (table, column) =
            if is_apply { applied_to(self.context) } else { (None, copied_to(self.context)) };
        for (what, name) in [(&b"table \""[..], table), (b"column \"", column)] {
            let Some(name) = name else { continue };
            let separator: &[u8] = if what.starts_with(b"column") && (table.is_some() || !is_apply)
            {
                b", "
            } else {
                b""
            };
            [separator, what, name, b"\""].into_iter().for_each(&mut write);
        }
        if table.is_some() || !is_apply {
            write(b": ");
        }
    }

    fn names_objects(&self) -> bool {
        self.sqlstate == DENIED
            || self.is_one_of(&NAMING)
            || CLASSES.into_iter().any(|class| self.is_of(class))
    }

    fn is_servers(&self) -> bool {
        self.domain.starts_with(b"postgres")
    }

    fn is_of(&self, class: &[u8; 2]) -> bool {
        self.sqlstate & 0xFFF == packed(class)
    }

    fn is_one_of(&self, templates: &[&str]) -> bool {
        templates.iter().any(|template| template.as_bytes() == self.template)
    }
}

/// The publisher's message in a text such as "could not … stream: ERROR:  message". libpq puts two
/// spaces after the severity, which may be translated. Without a severity, the text is libpq's own
/// about a lost connection.
fn write_answer(message: &[u8], mut write: impl FnMut(&[u8])) {
    match find(message, b":  ").filter(|at| is_severity(&message[..*at])) {
        Some(at) => {
            write(PUBLISHER);
            write(first_line(&message[at + 3..]));
        }
        None => write(first_line(message)),
    }
}

/// Whether the text ends with a word that is short enough to be a severity.
fn is_severity(text: &[u8]) -> bool {
    let word = text.iter().rev().take_while(|byte| !byte.is_ascii_whitespace()).count();
    (1..=20).contains(&word)
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Table and column in the apply worker's CONTEXT line, which is the last one: `processing remote
/// data … for replication target relation "s.t" column "c" in transaction 731` (worker.c, 15 to
/// 18).
fn applied_to(context: &[u8]) -> (Option<&[u8]>, Option<&[u8]>) {
    let line = find_last(context, b"processing remote data ").map(|at| &context[at..]);
    let Some((table, rest)) = line.and_then(|line| quoted_after(line, b"target relation \""))
    else {
        return (None, None);
    };
    let column = Some(rest).filter(|rest| rest.starts_with(b" column \""));
    (Some(table), column.and_then(|rest| quoted_after(rest, b" column \"")).map(|(name, _)| name))
}

/// The column in COPY's CONTEXT line: `COPY t, line 1, column c: "value"` (copyfrom.c, 13 to 18).
fn copied_to(context: &[u8]) -> Option<&[u8]> {
    let line = context.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"COPY "))?;
    let name = &line[find(line, b", column ")? + b", column ".len()..];
    Some(&name[..find(name, b": ").unwrap_or(name.len())])
}

/// The quoted text after `start`, and the rest of the text after it.
fn quoted_after<'a>(text: &'a [u8], start: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let text = &text[find(text, start)? + start.len()..];
    let end = text.iter().position(|byte| *byte == b'"')?;
    Some((&text[..end], &text[end + 1..]))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn find_last(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).rposition(|window| window == wanted)
}

/// Whether a format has words besides its values. That of RAISE has none, nor that of an extension
/// that formats its text beforehand.
fn has_words(template: &[u8]) -> bool {
    pieces(template)
        .any(|piece| piece.iter().filter(|byte| byte.is_ascii_alphabetic()).count() >= 3)
}

fn write_template(template: &[u8], mut write: impl FnMut(&[u8])) {
    for (number, piece) in pieces(template).enumerate() {
        if number > 0 {
            write(&[VALUE]);
        }
        write(piece);
    }
}

/// The literal text between the conversions of a printf format.
fn pieces(template: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(template);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.iter().position(|byte| *byte == b'%') else {
            rest = None;
            return Some(text);
        };
        let conversion =
            text[at + 1..].iter().position(|byte| b"diouxXeEfFgGaAcspm%".contains(byte));
        rest = conversion.map(|length| &text[at + length + 2..]);
        Some(&text[..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: &[u8; 5], message: &str, template: &str, domain: &str) -> String {
        collected(|write| reported(code, message, template, domain).write(write))
    }

    fn reported<'a>(
        code: &[u8; 5],
        message: &'a str,
        template: &'a str,
        domain: &'a str,
    ) -> Reported<'a> {
        Reported {
            sqlstate: packed(code),
            is_fatal: false,
            message: message.as_bytes(),
            template: template.as_bytes(),
            domain: domain.as_bytes(),
            context: b"",
        }
    }

    fn collected(work: impl FnOnce(&mut dyn FnMut(&[u8]))) -> String {
        let mut told = Vec::new();
        work(&mut |piece| told.extend_from_slice(piece));
        String::from_utf8(told).unwrap().replace('\u{1}', "…")
    }

    #[test]
    fn values_are_not_shown() {
        let server = "postgres-15";
        for (code, message, template, expected) in [
            (
                b"22003",
                "value \"3000000001\" is out of range for type integer",
                "value \"%s\" is out of range for type %s",
                "value \"…\" is out of range for type …",
            ),
            (
                b"22007",
                "date/time field value out of range: \"hidden\"",
                "date/time field value out of range: \"%s\"",
                "date/time field value out of range: \"…\"",
            ),
            (
                b"22P02",
                "Syntaxe en entrée invalide pour le type integer : « hidden »",
                "invalid input syntax for type %s: \"%s\"",
                "invalid input syntax for type …: \"…\"",
            ),
            (
                b"42704",
                "role \"hidden\" does not exist",
                "role \"%s\" does not exist",
                "role \"…\" does not exist",
            ),
            (b"22021", "bytes 0x68", "bytes %*.2x: 100%% of %-5ld", "bytes …: 100… of …"),
        ] {
            assert_eq!(told(code, message, template, server), expected);
        }
    }

    #[test]
    fn names_of_objects_are_shown() {
        for (code, message) in [
            (b"23505", "duplicate key value violates unique constraint \"t_pkey\""),
            (b"55000", "logical replication target relation \"public.t\" does not exist"),
            (b"42501", "permission denied for table t"),
        ] {
            assert_eq!(told(code, message, "any \"%s\" format", "postgres-18"), message);
        }
    }

    #[test]
    fn the_message_of_a_function_is_not_shown() {
        for (code, domain, template) in [
            (b"P0001", "plpgsql-15", "%s"),
            (b"23505", "plpgsql-15", "%s"),
            (b"22003", "plperl-18", "hidden"),
            (b"XX000", "postgres-15", "%s"),
            (b"23505", "postgres-15", "%s"),
            (b"23505", "postgres-15", ""),
        ] {
            assert_eq!(told(code, "hidden", template, domain), String::from_utf8_lossy(RAISED));
        }
        assert_eq!(
            told(b"08006", "port 5 is closed", "%s", "postgres"),
            String::from_utf8_lossy(NO_CONNECTION)
        );
    }

    #[test]
    fn the_publishers_answer_is_shown() {
        let lost =
            "could not receive data from WAL stream: server closed the connection unexpectedly";
        for (message, template, expected) in [
            (
                "could not receive data from WAL stream: ERROR:  publication \"move\" does not exist\n\
                 CONTEXT:  slot \"s\", output plugin \"pgoutput\"",
                "could not receive data from WAL stream: %s",
                "the publisher reported: publication \"move\" does not exist",
            ),
            (
                "konnte WAL-Streaming nicht starten: FEHLER:  Replikations-Slot »s« ist aktiv",
                START_STREAMING,
                "the publisher reported: Replikations-Slot »s« ist aktiv",
            ),
            (
                "could not start initial contents copy for table \"public.a\": \
                 ERROR:  permission denied for table a",
                "could not start initial contents copy for table \"%s.%s\": %s",
                "the publisher reported: permission denied for table a",
            ),
            (
                &format!("{lost}\n\tThis probably means"),
                "could not receive data from WAL stream: %s",
                lost,
            ),
            (
                "could not receive data from WAL stream: SSL SYSCALL error:  is no severity",
                "could not receive data from WAL stream: %s",
                "the publisher reported: is no severity",
            ),
        ] {
            assert_eq!(told(b"08006", message, template, "postgres-18"), expected);
            assert_eq!(
                reported(b"XX000", message, template, "postgres").source(),
                Source::Publisher
            );
        }
    }

    #[test]
    fn the_cause_of_a_failed_connection_is_not_shown() {
        let message = "connection to server at \"10.0.0.1\", port 5 failed: FATAL:  no";
        for template in CONNECTING.into_iter().chain(["%s", "a format of a later major: %s"]) {
            let told = told(b"08006", message, template, "postgres-18");
            assert_eq!(told.as_bytes(), NO_CONNECTION);
            assert_eq!(
                reported(b"08006", message, template, "postgres-18").source(),
                Source::Connection
            );
        }
        // Other modules may use the same format as the server.
        assert_eq!(
            told(b"08006", message, START_STREAMING, "plpgsql-18").as_bytes(),
            NO_CONNECTION
        );
    }

    #[test]
    fn the_table_and_column_are_shown_without_the_value() {
        let place = |is_apply, context: &'static str| {
            let report = Reported { context: context.as_bytes(), ..reported(b"22P02", "", "", "") };
            collected(|write| report.write_place(is_apply, write))
        };
        let applied = "processing remote data for replication origin \"pg_16400\" during message type \
             \"INSERT\" for replication target relation \"public.t\"";
        for (is_apply, context, expected) in [
            (false, "COPY t2, line 1, column x: \"hidden\"".to_owned(), ", column \"x\": "),
            (false, "COPY t2, line 1, column x: null input".to_owned(), ", column \"x\": "),
            (false, "COPY t2, line 1, column x".to_owned(), ", column \"x\": "),
            (false, "COPY t2, line 1: \"hidden, column\"".to_owned(), ": "),
            (false, "PL/pgSQL function f()\nCOPY t, line 7, column a b: \"x\nCOPY t, line 7, column hidden: \"y".to_owned(),
             ", column \"a b\": "),
            (false, String::new(), ": "),
            (true, format!("{applied} in transaction 731, finished at 0/1"), "table \"public.t\": "),
            (true, format!("{applied} column \"x\" in transaction 731, finished at 0/1"),
             "table \"public.t\", column \"x\": "),
            (true, format!("SQL statement \"processing remote data for replication target relation \"hidden\"\"\n{applied}"),
             "table \"public.t\": "),
            (true, "processing remote data for replication origin \"pg_1\"".to_owned(), ""),
            (true, "COPY t2, line 1, column x".to_owned(), ""),
            (true, String::new(), ""),
        ] {
            assert_eq!(place(is_apply, context.leak()), expected);
        }
    }

    #[test]
    fn errors_that_postgresql_does_not_count_are_recognized() {
        let report = |template| reported(b"08006", "", template, "postgres-18");
        let fatal = Reported { is_fatal: true, ..report("terminating connection") };
        assert!(!fatal.is_counted(true) && !fatal.is_counted(false));
        for template in CONNECTING.into_iter().chain([IDENTIFY_SYSTEM]) {
            assert!(!report(template).is_counted(true));
            assert!(report(template).is_counted(false));
        }
        assert!(!report(START_STREAMING).is_counted(true));
        assert!(!report(START_STREAMING).is_counted(false));
        assert!(report("could not receive data from WAL stream: %s").is_counted(true));
        for code in [b"57P01", b"57P02"] {
            let ended = Reported { is_fatal: true, ..reported(code, "", "", "postgres-18") };
            assert!(!ended.is_failure());
        }
        assert!(!report(FOLLOWING[0]).is_failure());
        assert!(fatal.is_failure());
    }
}
