//! Encodes a query to a publisher and decodes its answer, in version 3 of PostgreSQL's protocol.
//!
//! The publisher may be hostile. So everything has a limit that is checked before memory is
//! allocated: the bytes of the whole answer, the length of one message, the columns of a row. A
//! message that does not belong to a query's answer (COPY, authentication) is an error, so no
//! publisher can bring the protocol into a state in which the reader waits forever. The work is
//! proportional to the bytes that arrive.

use std::fmt;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::message::backend::{
    DATA_ROW_TAG, DataRowBody, ERROR_RESPONSE_TAG, ErrorResponseBody, Header, Message,
};
use postgres_protocol::message::frontend;

/// The longest message, in bytes. Messages are rows of names and numbers, or errors.
const MAX_MESSAGE: usize = 256 << 10;
/// The most bytes of one answer that are not rows: notices, parameters, descriptions.
const MAX_ASIDE: usize = 1 << 20;
/// The most columns of a row. None of our queries has more.
const MAX_COLUMNS: usize = 64;

/// Encodes SQL or a replication command. Returns `None` if the text contains a NUL.
pub fn query(sql: &str) -> Option<Vec<u8>> {
    let mut bytes = BytesMut::new();
    frontend::query(sql, &mut bytes).ok()?;
    Some(bytes.to_vec())
}

/// Encodes the execution of a prepared statement without parameters. The first time, `sql` is its
/// text. Returns `None` if a text contains a NUL.
pub fn prepared(name: &str, sql: Option<&str>) -> Option<Vec<u8>> {
    let mut bytes = BytesMut::new();
    if let Some(sql) = sql {
        frontend::parse(name, sql, [], &mut bytes).ok()?;
    }
    let no_values = std::iter::empty::<()>();
    frontend::bind("", name, [], no_values, |_, _| Ok(IsNull::Yes), [], &mut bytes).ok()?;
    frontend::execute("", 0, &mut bytes).ok()?;
    frontend::sync(&mut bytes);
    Some(bytes.to_vec())
}

/// Reads one answer, up to ReadyForQuery.
pub struct Reader {
    unread: BytesMut,
    taken: usize,
    aside: usize,
    limit: usize,
    rows: Rows,
    error: Option<ServerError>,
}

/// The content of an answer: rows, or the server's error.
pub type Outcome = Result<Rows, ServerError>;

/// Why an answer cannot be read to its end. The connection cannot be used afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// More bytes than the limit allows.
    TooMuch,
    /// Bytes that are not a valid answer to a query.
    Nonsense,
    OutOfMemory,
}

/// An error that the server reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    pub sqlstate: String,
    pub message: String,
}

impl Reader {
    /// `limit`: the most bytes that the server may send.
    pub fn new(limit: usize) -> Self {
        Self {
            unread: BytesMut::new(),
            taken: 0,
            aside: 0,
            limit,
            rows: Rows::default(),
            error: None,
        }
    }

    /// Takes the bytes that have arrived. Returns `None` while the answer is incomplete.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<Outcome>, Fault> {
        self.taken += bytes.len();
        if self.taken > self.limit {
            return Err(Fault::TooMuch);
        }
        self.unread.extend_from_slice(bytes);
        while self.has_message()? {
            let before = self.unread.len();
            let message = Message::parse(&mut self.unread).map_err(|_| Fault::Nonsense)?;
            let message = message.ok_or(Fault::Nonsense)?;
            if !matches!(message, Message::DataRow(_)) {
                self.aside += before - self.unread.len();
            }
            if self.aside > MAX_ASIDE {
                return Err(Fault::TooMuch);
            }
            if self.is_last(message)? {
                return Ok(Some(self.outcome()));
            }
        }
        Ok(None)
    }

    /// Whether a complete message has arrived. Its length is checked as soon as the header is
    /// there.
    fn has_message(&self) -> Result<bool, Fault> {
        let Some(header) = Header::parse(&self.unread).map_err(|_| Fault::Nonsense)? else {
            return Ok(false);
        };
        let length = header.len().unsigned_abs() as usize + 1;
        match length > MAX_MESSAGE {
            true if matches!(header.tag(), DATA_ROW_TAG | ERROR_RESPONSE_TAG) => {
                Err(Fault::TooMuch)
            }
            true => Err(Fault::Nonsense),
            false => Ok(self.unread.len() >= length),
        }
    }

    fn is_last(&mut self, message: Message) -> Result<bool, Fault> {
        match message {
            Message::DataRow(row) => {
                self.rows.push(&row)?;
                if self.rows.size() > self.limit {
                    return Err(Fault::TooMuch);
                }
            }
            Message::ErrorResponse(error) => self.error = Some(server_error(&error)?),
            Message::ReadyForQuery(_) => return Ok(true),
            Message::RowDescription(_)
            | Message::CommandComplete(_)
            | Message::EmptyQueryResponse
            | Message::ParseComplete
            | Message::BindComplete
            | Message::NoData
            // A server may send these at any time.
            | Message::NoticeResponse(_)
            | Message::NotificationResponse(_)
            | Message::ParameterStatus(_) => {}
            _ => return Err(Fault::Nonsense),
        }
        Ok(false)
    }

    fn outcome(&mut self) -> Outcome {
        let rows = std::mem::take(&mut self.rows);
        self.error.take().map_or(Ok(rows), Err)
    }
}

fn server_error(body: &ErrorResponseBody) -> Result<ServerError, Fault> {
    let mut error = ServerError::default();
    let mut fields = body.fields();
    while let Some(field) = fields.next().map_err(|_| Fault::Nonsense)? {
        let text = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => error.sqlstate = text(),
            b'M' => error.message = text(),
            _ => {}
        }
    }
    Ok(error)
}

/// Rows of text that all have the same number of columns, in two allocations however many rows
/// there are. Invalid UTF-8 is replaced as in `String::from_utf8_lossy`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Rows {
    count: usize,
    width: usize,
    text: String,
    /// The end of each value in `text`, or `NULL`.
    ends: Vec<u32>,
}

const NULL: u32 = u32::MAX;

impl Rows {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// About the bytes of memory in use. Replacing invalid UTF-8 makes a text longer.
    fn size(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<u32>()
    }

    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let mut from = 0;
        (0..self.count).map(move |number| {
            let ends = &self.ends[number * self.width..][..self.width];
            let row = Row { text: &self.text, from, ends };
            from = ends.iter().rev().find(|end| **end != NULL).map_or(from, |end| *end as usize);
            row
        })
    }

    fn push(&mut self, row: &DataRowBody) -> Result<(), Fault> {
        let mut width = 0;
        let mut values = row.ranges();
        while let Some(value) = values.next().map_err(|_| Fault::Nonsense)? {
            width += 1;
            if width > MAX_COLUMNS {
                return Err(Fault::Nonsense);
            }
            let end = match value {
                Some(range) => self.add(row.buffer().get(range).ok_or(Fault::Nonsense)?)?,
                None => NULL,
            };
            self.ends.try_reserve(1).map_err(|_| Fault::OutOfMemory)?;
            self.ends.push(end);
        }
        if self.count > 0 && width != self.width {
            return Err(Fault::Nonsense);
        }
        self.width = width;
        self.count += 1;
        Ok(())
    }

    /// Returns where the value ends in `text`.
    fn add(&mut self, value: &[u8]) -> Result<u32, Fault> {
        for chunk in value.utf8_chunks() {
            self.add_text(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                self.add_text("\u{fffd}")?;
            }
        }
        u32::try_from(self.text.len()).ok().filter(|end| *end != NULL).ok_or(Fault::TooMuch)
    }

    fn add_text(&mut self, text: &str) -> Result<(), Fault> {
        self.text.try_reserve(text.len()).map_err(|_| Fault::OutOfMemory)?;
        self.text.push_str(text);
        Ok(())
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[derive(Clone, Copy)]
pub struct Row<'a> {
    text: &'a str,
    from: usize,
    ends: &'a [u32],
}

impl<'a> Row<'a> {
    /// A value. `None` if it is NULL or the row does not have the column.
    pub fn get(&self, column: usize) -> Option<&'a str> {
        let end = *self.ends.get(column).filter(|end| **end != NULL)?;
        let before = self.ends[..column].iter().rev().find(|end| **end != NULL);
        let from = before.map_or(self.from, |end| *end as usize);
        self.text.get(from..end as usize)
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.ends.len()).map(|column| self.get(column))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[tag], &length[..], body].concat()
    }

    fn data_row(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            match value {
                Some(value) => {
                    body.extend((value.len() as u32).to_be_bytes());
                    body.extend(*value);
                }
                None => body.extend([0xff; 4]),
            }
        }
        message(b'D', &body)
    }

    fn ready() -> Vec<u8> {
        message(b'Z', b"I")
    }

    fn read(bytes: &[u8]) -> Result<Option<Outcome>, Fault> {
        Reader::new(1 << 20).take(bytes)
    }

    fn texts(rows: &Rows) -> Vec<Vec<Option<String>>> {
        let row = |row: Row| (0..rows.width).map(|c| row.get(c).map(str::to_owned)).collect();
        rows.iter().map(row).collect()
    }

    #[test]
    fn rows_are_read_as_they_were_sent() {
        let answer = [
            data_row(&[Some(b"a"), None, Some("ä".as_bytes())]),
            data_row(&[None, None, None]),
            data_row(&[Some(b""), Some(b"\xff"), Some(b"end")]),
            message(b'C', b"SELECT 3\0"),
            ready(),
        ]
        .concat();
        let rows = read(&answer).unwrap().unwrap().unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            texts(&rows),
            [
                vec![text("a"), None, text("ä")],
                vec![None, None, None],
                vec![text(""), text("\u{fffd}"), text("end")],
            ]
        );
        assert_eq!((rows.len(), rows.first().unwrap().get(9)), (3, None));
    }

    #[test]
    fn an_error_after_rows_is_the_answer() {
        let error = message(b'E', b"SERROR\0C42704\0Mno such thing\0\0");
        let answer = [data_row(&[Some(b"a")]), error, ready()].concat();
        let error = read(&answer).unwrap().unwrap().unwrap_err();
        assert_eq!((&*error.sqlstate, &*error.message), ("42704", "no such thing"));
    }

    #[test]
    fn messages_that_a_server_may_send_at_any_time_change_nothing() {
        let aside = [
            message(b'N', b"SNOTICE\0Mlisten\0\0"),
            message(b'S', b"TimeZone\0UTC\0"),
            message(b'A', b"\0\0\0\x07channel\0payload\0"),
        ]
        .concat();
        let answer = [&aside[..], &data_row(&[Some(b"a")]), &aside, &ready()].concat();
        assert_eq!(read(&answer).unwrap().unwrap().unwrap().len(), 1);
    }

    #[test]
    fn a_message_that_is_not_part_of_an_answer_is_refused_at_once() {
        for tag in [b'G', b'H', b'W', b'd', b'c', b'R', b'K', b's', b'V', 0, 0xff] {
            assert_eq!(read(&message(tag, &[0; 8])), Err(Fault::Nonsense), "{}", tag as char);
        }
        let wide = data_row(&vec![None; MAX_COLUMNS + 1]);
        let uneven = [data_row(&[None]), data_row(&[None, None])].concat();
        let short = message(b'D', &[0, 2, 0xff, 0xff, 0xff, 0xff]);
        let beyond = message(b'D', &[0, 1, 0, 0, 0, 9, b'x']);
        for bytes in
            [wide, uneven, short, beyond, vec![b'D', 0, 0, 0, 3], vec![b'D', 0xff, 0, 0, 0]]
        {
            assert_eq!(read(&bytes), Err(Fault::Nonsense), "{bytes:?}");
        }
    }

    #[test]
    fn a_long_message_is_refused_before_it_arrives() {
        for tag in [b'D', b'E'] {
            assert_eq!(read(&[tag, 0x3f, 0xff, 0xff, 0xff]), Err(Fault::TooMuch));
        }
        assert_eq!(read(&[b'N', 0x3f, 0xff, 0xff, 0xff]), Err(Fault::Nonsense));
    }

    #[test]
    fn every_byte_counts_towards_the_limit() {
        let limits = [100_000, 64 << 20];
        for (limit, flood) in limits.into_iter().zip([data_row(&[]), message(b'S', b"a\0b\0")]) {
            let mut reader = Reader::new(limit);
            let sent = (1..).find(|_| reader.take(&flood) == Err(Fault::TooMuch)).unwrap();
            assert!(sent * flood.len() <= limit.min(MAX_ASIDE) + 2 * flood.len(), "{sent}");
        }
        for flood in [
            data_row(&[]),
            data_row(&[None; 64]),
            message(b'N', b"\0"),
            message(b'S', b"a\0b\0"),
            message(b'E', b"\0"),
            message(b'C', b"\0"),
        ] {
            let mut reader = Reader::new(100_000);
            let mut sent = 0;
            let end = loop {
                sent += flood.len();
                match reader.take(&flood) {
                    Ok(None) => {}
                    end => break end,
                }
            };
            assert_eq!(end, Err(Fault::TooMuch));
            assert!(sent <= 100_000 + flood.len());
        }
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config {
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn an_answer_is_the_same_in_pieces_of_any_size(
            values in prop::collection::vec(prop::collection::vec(any::<Option<Vec<u8>>>(), 3), 0..20),
            cut in 1_usize..50,
        ) {
            let row = |row: &Vec<Option<Vec<u8>>>| {
                data_row(&row.iter().map(|value| value.as_deref()).collect::<Vec<_>>())
            };
            let answer = [values.iter().map(row).collect::<Vec<_>>().concat(), ready()].concat();
            let whole = read(&answer).unwrap().unwrap().unwrap();
            let lossy = |value: &Option<Vec<u8>>| {
                value.as_ref().map(|v| String::from_utf8_lossy(v).into_owned())
            };
            let expected: Vec<Vec<_>> =
                values.iter().map(|row| row.iter().map(lossy).collect()).collect();
            prop_assert_eq!(texts(&whole), expected);
            let mut reader = Reader::new(1 << 20);
            let mut last = None;
            for piece in answer.chunks(cut) {
                prop_assert!(last.is_none());
                last = reader.take(piece).unwrap();
            }
            prop_assert_eq!(last, Some(Ok(whole)));
        }

        #[test]
        fn no_input_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
