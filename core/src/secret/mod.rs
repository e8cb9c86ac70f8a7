//! Secrets in the lines of a log and in messages: where they are, and the same text without them.
//! Everything else of the text stays, so that a line still tells what was done.
//!
//! A secret is found in two ways: by what is written before it (`written.rs`: `password=…`, the user
//! part of a URI), and by its value (`known.rs`), when a running function was given it. Time is
//! linear in the length of the text; only `masked` and `shown` allocate.

mod known;
mod layers;
mod literals;
mod parts;
mod readings;
mod uri;
mod written;

use std::borrow::Cow;
use std::ops::Range;

pub use known::Known;
use known::Occurrences;
use layers::Layer;
use literals::Literals;
use parts::Part;
pub use parts::{Head, Parts};
use readings::Agreed;
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
    /// Arguments as pgaudit writes them: one after the other, in double quotes where need be.
    Fields,
    /// What comes before a statement, such as names that the client chose. Only what is known by its value is
    /// a secret there.
    Names,
}

impl Kind {
    /// What a literal without a prefix is.
    fn plain(self) -> Layer {
        if self == Self::EscapedSql { Layer::Escaped } else { Layer::Quoted }
    }

    fn is_code(self) -> bool {
        matches!(self, Self::Sql | Self::EscapedSql)
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
    fn new(text: &'a [u8], part: &Part, known: &'a Known) -> Self {
        let may_be_written = written::may_be_in(&text[part.start..part.end]);
        let read = if may_be_written { *part } else { part.with(Kind::Names) };
        let mut secrets = Self {
            written: Written::new(text, &read),
            known: known.occurrences(&text[..part.end], part.start),
            literals: Literals::new(text, part).peekable(),
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

/// How long the masked text is. `None` when there is nothing to mask.
pub fn masked_length(text: &[u8], parts: &Parts, known: &Known) -> Option<usize> {
    let mut found = false;
    let length = Agreed::new(text, parts, known).fold(text.len(), |length, secret| {
        found = true;
        length + MASK.len() - secret.len()
    });
    found.then_some(length)
}

/// Hands out the masked text piece by piece.
pub fn mask(text: &[u8], parts: &Parts, known: &Known, mut write: impl FnMut(&[u8])) {
    let mut done = 0;
    for secret in Agreed::new(text, parts, known) {
        write(&text[done..secret.start]);
        write(MASK);
        done = secret.end;
    }
    write(&text[done..]);
}

/// The text with its secrets masked.
pub fn masked<'a>(text: &'a [u8], kind: Kind, known: &Known) -> Cow<'a, [u8]> {
    masked_parts(text, &Parts::whole(text, kind), known)
}

/// The same of a text that has parts.
pub fn masked_parts<'a>(text: &'a [u8], parts: &Parts, known: &Known) -> Cow<'a, [u8]> {
    let Some(length) = masked_length(text, parts, known) else { return Cow::Borrowed(text) };
    let mut out = Vec::with_capacity(length);
    mask(text, parts, known, |piece| out.extend_from_slice(piece));
    Cow::Owned(out)
}

/// The values that are written as secrets in a text.
pub fn written_in(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    Written::new(text, &Part::whole(text, Kind::Argument)).map(|range| &text[range])
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
    if written_in(seen.as_bytes()).next().is_some() {
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
