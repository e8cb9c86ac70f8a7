//! Finds secrets in log lines and messages, and masks them. The rest of the text stays, so that a
//! line still shows what was done.
//!
//! A secret is found in two ways: by what is written before it (`written.rs`: `password=…`, the
//! user part of a URI), or by its value, if a running function received it (`known.rs`). The time
//! is linear in the length of the text. Only `masked`, `cut` and `shown` allocate memory.

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
use readings::CommonSecrets;
use written::Written;

/// The text that replaces a secret. It does not reveal the secret's length.
pub const MASK: &[u8] = b"********";

/// The most bytes of an argument that an error shows.
const SHOWN: usize = 63;
/// The most bytes of a message that quotes arguments.
const MESSAGE: usize = 300;
/// The most bytes of an argument that are read.
const LOOKED_AT: usize = 1024;

/// What kind of text it is outside of quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SQL statements. What follows `password =` may be an expression. A function call in it is not
    /// masked.
    Sql,
    /// The same with standard_conforming_strings off: a backslash is an escape in every literal.
    EscapedSql,
    /// Prose. It may contain a connection string without quotes.
    Text,
    /// An argument of a function. Like prose, but the whole text may be a connection string.
    Argument,
    /// Arguments as pgaudit writes them: separated by commas, in double quotes where needed.
    Fields,
    /// The text before a statement, such as names that the client chose. Only secrets known by
    /// their value are masked there.
    Names,
}

impl Kind {
    /// The kind of a literal without a prefix.
    fn plain(self) -> Layer {
        if self == Self::EscapedSql { Layer::Escaped } else { Layer::Quoted }
    }

    fn is_code(self) -> bool {
        matches!(self, Self::Sql | Self::EscapedSql)
    }
}

/// The ranges of the secrets in a text, in order. They neither overlap nor touch.
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

    /// A known value outside of a literal is not a secret: `FROM people`.
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

/// The length of the masked text. `None` if there is nothing to mask.
pub fn masked_length(text: &[u8], parts: &Parts, known: &Known) -> Option<usize> {
    let mut found = false;
    let length = CommonSecrets::new(text, parts, known).fold(text.len(), |length, secret| {
        found = true;
        length + MASK.len() - secret.len()
    });
    found.then_some(length)
}

/// Emits the masked text piece by piece.
pub fn mask(text: &[u8], parts: &Parts, known: &Known, mut write: impl FnMut(&[u8])) {
    let mut done = 0;
    for secret in CommonSecrets::new(text, parts, known) {
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

/// The same for a text that consists of parts.
pub fn masked_parts<'a>(text: &'a [u8], parts: &Parts, known: &Known) -> Cow<'a, [u8]> {
    let Some(length) = masked_length(text, parts, known) else { return Cow::Borrowed(text) };
    let mut out = Vec::with_capacity(length);
    mask(text, parts, known, |piece| out.extend_from_slice(piece));
    Cow::Owned(out)
}

/// The values in a text that are written as secrets.
pub fn written_in(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    Written::new(text, &Part::whole(text, Kind::Argument)).map(|range| &text[range])
}

/// A message that quotes what a caller wrote: its secrets are masked, and it is truncated.
pub fn cut(message: &str) -> String {
    let seen = &message[..message.floor_char_boundary(LOOKED_AT)];
    let masked = masked(seen.as_bytes(), Kind::Text, &Known::NOTHING);
    let mut text = String::from_utf8_lossy(&masked).into_owned();
    text.truncate(text.floor_char_boundary(MESSAGE));
    text
}

/// An argument as an error may show it: truncated and in one line. A connection string is not shown
/// at all; it may be passed in place of a name if a caller mixes up the arguments.
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
