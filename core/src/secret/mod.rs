//! Secrets in the lines of a log and in messages: where they are, and the same text without them.
//! Everything else of the text stays, so that a line still tells what was done.
//!
//! A secret is found in two ways: by what is written before it (`written.rs`: `password=…`, the user
//! part of a URI), and by its value (`known.rs`), when a running function was given it. Time is
//! linear in the length of the text; only `masked` and `shown` allocate.

mod known;
mod layers;
mod literals;
mod uri;
mod written;

use std::borrow::Cow;
use std::ops::Range;

pub use known::Known;
use known::Occurrences;
use layers::Layer;
use literals::Literals;
use written::Written;

/// What stands where a secret was. It does not tell the secret's length.
pub const MASK: &[u8] = b"********";

/// Longer arguments are cut where an error shows them, in bytes.
const SHOWN: usize = 63;
/// The same of a message that repeats arguments.
const MESSAGE: usize = 300;
/// Of a longer argument, only this much is looked at.
const LOOKED_AT: usize = 1024;

/// What a text is outside of its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Statements: what follows `password =` may be an expression, and a call in it stays visible.
    Sql,
    /// The same where standard_conforming_strings is off: a backslash escapes in every literal.
    EscapedSql,
    /// Prose, which may quote a connection string without any mark.
    Text,
    /// An argument: as prose, but all of it may be a connection string.
    Argument,
}

/// So many commas in pgaudit's line are before the parameters.
const PARAMETERS: usize = 8;

impl Kind {
    /// What a literal without a prefix is.
    fn plain(self) -> Layer {
        if self == Self::EscapedSql { Layer::Escaped } else { Layer::Quoted }
    }

    /// Where a statement begins that is not the whole of a prose: log_statement quotes what EXECUTE has
    /// prepared, CONTEXT what a function runs.
    fn quoted_statement(self, text: &[u8]) -> Option<usize> {
        let marks = [&b"prepare: "[..], b"SQL statement \"", b"SQL expression \""];
        let mark = marks.into_iter().find(|mark| self == Self::Text && text.starts_with(mark));
        mark.map(<[u8]>::len)
    }

    fn is_prose(self, text: &[u8]) -> bool {
        let is_text = matches!(self, Self::Text | Self::Argument);
        is_text && self.quoted_statement(text).is_none()
    }

    fn is_audit(self, text: &[u8]) -> bool {
        matches!(self, Self::Sql | Self::EscapedSql) && text.starts_with(b"AUDIT: ")
    }
}

/// The places of a text's secrets, in order, none touching another.
struct Secrets<'a> {
    written: Written<'a>,
    known: Occurrences<'a>,
    literals: std::iter::Peekable<Literals<'a>>,
    next: [Option<Range<usize>>; 2],
}

impl<'a> Secrets<'a> {
    fn new(text: &'a [u8], kind: Kind, known: &'a Known) -> Self {
        let mut secrets = Self {
            written: Written::new(text, kind),
            known: known.occurrences(text),
            literals: Literals::new(text, kind).peekable(),
            next: [None, None],
        };
        secrets.next = [secrets.written.next(), secrets.next_known()];
        secrets
    }

    /// A value in code is none: `FROM people` is no secret.
    fn next_known(&mut self) -> Option<Range<usize>> {
        loop {
            let found = self.known.next()?;
            while self.literals.next_if(|literal| literal.end < found.end).is_some() {}
            if self.literals.peek()?.start <= found.start {
                return Some(found);
            }
        }
    }

    fn take(&mut self, way: usize) -> Option<Range<usize>> {
        let following = if way == 0 { self.written.next() } else { self.next_known() };
        std::mem::replace(&mut self.next[way], following)
    }
}

impl Iterator for Secrets<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = |range: &Option<Range<usize>>| range.as_ref().map_or(usize::MAX, |it| it.start);
        let first = usize::from(start(&self.next[1]) < start(&self.next[0]));
        let mut found = self.take(first)?;
        while let Some(way) = (0..2).find(|way| start(&self.next[*way]) <= found.end) {
            let more = self.take(way)?;
            found.end = found.end.max(more.end);
        }
        Some(found)
    }
}

/// The secrets of a text. The parameters of a query, which are no code, follow the statements of a CONTEXT
/// in a line of their own: `unnamed portal with parameters: $1 = '…'`.
fn secrets<'a>(
    text: &'a [u8],
    kind: Kind,
    known: &'a Known,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let is_context = kind.quoted_statement(text).is_some();
    let end = if is_context { start_of_parameters(text) } else { text.len() };
    let (statements, parameters) = text.split_at(end);
    let shifted = move |secret: Range<usize>| secret.start + end..secret.end + end;
    Secrets::new(statements, kind, known).chain(Secrets::new(parameters, kind, known).map(shifted))
}

fn start_of_parameters(text: &[u8]) -> usize {
    const FIRST: &[u8] = b"$1 = '";
    let mut start = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if start > 0 && line.windows(FIRST.len()).any(|part| part == FIRST) {
            return start;
        }
        start += line.len();
    }
    text.len()
}

/// How long the masked text is. `None` when there is nothing to mask.
pub fn masked_length(text: &[u8], kind: Kind, known: &Known) -> Option<usize> {
    let mut found = false;
    let length = secrets(text, kind, known).fold(text.len(), |length, secret| {
        found = true;
        length + MASK.len() - secret.len()
    });
    found.then_some(length)
}

/// Hands out the masked text piece by piece.
pub fn mask(text: &[u8], kind: Kind, known: &Known, mut write: impl FnMut(&[u8])) {
    let mut done = 0;
    for secret in secrets(text, kind, known) {
        write(&text[done..secret.start]);
        write(MASK);
        done = secret.end;
    }
    write(&text[done..]);
}

/// The text with its secrets masked.
pub fn masked<'a>(text: &'a [u8], kind: Kind, known: &Known) -> Cow<'a, [u8]> {
    let Some(length) = masked_length(text, kind, known) else { return Cow::Borrowed(text) };
    let mut out = Vec::with_capacity(length);
    mask(text, kind, known, |piece| out.extend_from_slice(piece));
    Cow::Owned(out)
}

/// The values that are written as secrets in a text.
pub fn written_in(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    Written::new(text, Kind::Argument).map(|range| &text[range])
}

/// A message that repeats what a caller wrote: its secrets masked, and cut.
pub fn cut(message: &str) -> String {
    let seen = &message[..message.floor_char_boundary(LOOKED_AT)];
    let masked = masked(seen.as_bytes(), Kind::Text, &Known::NOTHING);
    let mut text = String::from_utf8_lossy(&masked).into_owned();
    text.truncate(text.floor_char_boundary(MESSAGE));
    text
}

/// An argument as an error may show it: cut, in one line, and not at all if it is a connection string,
/// which stands in place of a name when arguments are swapped.
pub fn shown(text: &str) -> String {
    let seen = &text[..text.floor_char_boundary(LOOKED_AT)];
    if Written::new(seen.as_bytes(), Kind::Argument).next().is_some() {
        return "<connection string>".to_owned();
    }
    let mut shown = seen[..seen.floor_char_boundary(SHOWN)].replace(char::is_control, " ");
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
