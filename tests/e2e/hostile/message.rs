//! The parts of messages and commands that a subscriber needs.

use super::script::{Insert, Row};

pub enum Reply {
    Rows(Vec<Row>),
    Done,
    Missing(String),
    Copy,
    Stream,
}

impl Reply {
    pub fn row(values: &[&str]) -> Reply {
        Reply::Rows(vec![row(values)])
    }

    pub fn names<'a>(names: impl Iterator<Item = &'a String>) -> Reply {
        Reply::Rows(names.map(|name| row(&[name])).collect())
    }
}

impl Insert {
    /// `id` is the key; every type is text but that of `id`.
    pub fn relation_message(&self, relation: u32) -> Vec<u8> {
        let mut body = relation.to_be_bytes().to_vec();
        body.extend([cstring(self.schema), cstring(self.table), b"d".to_vec()].concat());
        body.extend((self.values.len() as u16).to_be_bytes());
        for (column, _) in &self.values {
            let (flags, kind) = if *column == "id" { (1, 23_u32) } else { (0, 25) };
            body.push(flags);
            body.extend(cstring(column));
            body.extend(kind.to_be_bytes());
            body.extend([0xff; 4]);
        }
        body
    }

    pub fn insert_message(&self, relation: u32) -> Vec<u8> {
        let mut body = [&relation.to_be_bytes()[..], b"N"].concat();
        body.extend((self.values.len() as u16).to_be_bytes());
        for (_, value) in &self.values {
            body.push(b't');
            body.extend((value.len() as u32).to_be_bytes());
            body.extend(value.as_bytes());
        }
        body
    }
}

/// The end of a transaction; the first is number 1, at 0/1100.
pub fn lsn_of(transaction: usize) -> u64 {
    0x1000 + 0x100 * transaction as u64
}

/// How many transactions end at or before the position in a START_REPLICATION command.
pub fn transactions_before(command: &str) -> usize {
    let position = command.split(" 0/").nth(1).unwrap_or_default();
    let digits: String = position.chars().take_while(char::is_ascii_hexdigit).collect();
    let lsn = u64::from_str_radix(&digits, 16).unwrap_or_default();
    (lsn.saturating_sub(lsn_of(0)) / 0x100) as usize
}

/// How many columns a query asks for: core's has one more for column lists, by major.
pub fn select_list(query: &str) -> usize {
    let list = query.split("FROM").next().unwrap_or_default();
    list.matches(',').count() + 1
}

/// The name after a replication command: core quotes it, or not, by major.
pub fn argument(command: &str) -> String {
    command.split_whitespace().nth(1).unwrap_or_default().trim_matches('"').to_owned()
}

/// What stands between quotes.
pub fn quoted_by(quote: char, text: &str) -> Vec<String> {
    text.split(quote).skip(1).step_by(2).map(str::to_owned).collect()
}

pub fn row(values: &[&str]) -> Row {
    values.iter().map(|value| Some(value.as_bytes().to_vec())).collect()
}

pub fn report(severity: &str, code: &str, message: &str) -> Vec<u8> {
    let field = |tag: u8, value: &str| [&[tag], &cstring(value)[..]].concat();
    [field(b'S', severity), field(b'V', severity), field(b'C', code), field(b'M', message), vec![0]]
        .concat()
}

pub fn cstring(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The strings at the beginning of a message.
pub fn strings<const N: usize>(body: &[u8]) -> [String; N] {
    let mut parts = body.split(|byte| *byte == 0);
    std::array::from_fn(|_| text(parts.next().unwrap_or_default()))
}

pub fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim_end_matches('\0').to_owned()
}
