//! Secrets by what is written before them: a keyword of libpq and an equals sign, in whatever a
//! connection string is quoted; the user part of a URI; `PASSWORD '…'` of SQL; a key of JSON.
//!
//! Where it is not clear where a value ends, more is taken for it rather than less, but never more
//! than the literal or comment that it stands in: the rest of a statement is what an audit is for.

use std::ops::Range;

use super::layers::{Layer, Layers};
use super::{Kind, MASK, uri};

/// Keywords whose values are secrets, and the variable of libpq's environment.
const KEYWORDS: [&[u8]; 6] = [
    b"password",
    b"sslpassword",
    b"oauth_client_secret",
    b"scram_client_key",
    b"scram_server_key",
    b"pgpassword",
];
const LONGEST: usize = 19;

/// The word that was read last, in lower case, as a URI's percent encoding means it.
#[derive(Default)]
struct Word {
    bytes: [u8; LONGEST],
    /// Of the whole word, which may be longer than what is kept.
    length: usize,
    /// Something else than a word's letter has followed.
    ended: bool,
    /// That was a double quote.
    quoted: bool,
    /// What it begins after is `?` or `&`.
    in_query: bool,
}

impl Word {
    fn push(&mut self, byte: u8, before: u8) {
        if self.ended {
            *self = Self::default();
        }
        if self.length == 0 {
            self.in_query = matches!(before, b'?' | b'&');
        }
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte.to_ascii_lowercase();
        }
        self.length += 1;
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn is_open(&self) -> bool {
        self.length > 0 && !self.ended
    }

    fn is_secret(&self) -> bool {
        KEYWORDS.contains(&self.text())
    }
}

/// How far it is known what a layer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Nothing has been read of it.
    Fresh,
    /// One word.
    Word,
    /// A connection string, or JSON that may hold one: a value ends at a space.
    Values,
    /// Anything else, which may be code.
    Code,
}

pub struct Written<'a> {
    text: &'a [u8],
    layers: Layers<'a>,
    /// By depth.
    content: [Content; 8],
    at: usize,
    /// The byte before `at` on this layer.
    before: u8,
    word: Word,
    /// Whether a double quote is open, in which an apostrophe is just that.
    in_identifier: bool,
    /// Up to here there is no `@`, as far as one was looked for.
    without_at: usize,
}

impl<'a> Written<'a> {
    pub fn new(text: &'a [u8], kind: Kind) -> Self {
        let outside = if kind == Kind::Text { Content::Values } else { Content::Code };
        Self {
            text,
            layers: Layers::new(text),
            content: [outside; 8],
            at: 0,
            before: 0,
            word: Word::default(),
            in_identifier: false,
            without_at: 0,
        }
    }

    fn content(&mut self) -> &mut Content {
        &mut self.content[self.layers.depth()]
    }

    fn open(&mut self, layer: Layer, at: usize) {
        self.note_code();
        if self.layers.open(layer) {
            *self.content() = if self.layers.in_comment() { Content::Code } else { Content::Fresh };
        }
        self.in_identifier = false;
        self.go_on(at, 0);
    }

    fn close(&mut self) {
        let next = self.layers.close(self.at);
        self.in_identifier = false;
        self.go_on(next, b'\'');
    }

    fn go_on(&mut self, at: usize, before: u8) {
        (self.at, self.before) = (at, before);
        self.word = Word::default();
    }

    /// What was just read begins no connection string.
    fn note_code(&mut self) {
        let content = self.content();
        if matches!(content, Content::Fresh | Content::Word) {
            *content = Content::Code;
        }
    }

    fn peek(&self, at: usize) -> Option<u8> {
        self.layers.byte(at).map(|(byte, _)| byte)
    }

    fn skip_space(&self, mut at: usize) -> usize {
        while let Some((_, next)) = self.layers.byte(at).filter(|(byte, _)| is_space(*byte)) {
            at = next;
        }
        at
    }

    fn step(&mut self, byte: u8, next: usize) -> Option<Range<usize>> {
        let before = std::mem::replace(&mut self.before, byte);
        let at = std::mem::replace(&mut self.at, next);
        match byte {
            b'%' => self.percent(before, next),
            b'=' => return self.equals(next),
            b':' => return self.colon(next),
            b'\'' if !self.layers.in_comment() => return self.quote(at, next),
            b'$' if !self.layers.in_comment() && !self.word.is_open() => {
                return self.dollar(at);
            }
            b'"' => {
                self.word.quoted = self.word.is_open();
                self.word.ended = true;
                self.in_identifier = !self.in_identifier;
                self.note_code();
            }
            b'{' | b'[' if *self.content() == Content::Fresh => *self.content() = Content::Values,
            b'-' | b'/' => self.comment(byte, before, next),
            _ if is_letter(byte) => self.letter(byte, before),
            _ if is_space(byte) => self.word.ended = true,
            _ => self.other(),
        }
        None
    }

    fn letter(&mut self, byte: u8, before: u8) {
        let starts = !self.word.is_open();
        self.word.push(byte, before);
        if starts {
            let content = self.content();
            *content = match *content {
                Content::Fresh => Content::Word,
                Content::Word => Content::Code,
                known => known,
            };
        }
    }

    fn other(&mut self) {
        self.word = Word::default();
        self.note_code();
    }

    /// `pass%77ord` is a keyword of a URI.
    fn percent(&mut self, before: u8, next: usize) {
        let encoded = || {
            let (high, low_at) = self.layers.byte(next)?;
            let (low, end) = self.layers.byte(low_at)?;
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let byte = (digit(high)? * 16 + digit(low)?) as u8;
            is_letter(byte).then_some((byte, end))
        };
        match encoded() {
            Some((byte, end)) => {
                self.word.push(byte, before);
                self.at = end;
            }
            None => self.other(),
        }
    }

    fn comment(&mut self, byte: u8, before: u8, next: usize) {
        self.other();
        if *self.content() == Content::Values || self.layers.in_comment() {
            return;
        }
        let begins = before == 0 || is_space(before) || b";(),'".contains(&before);
        let layer = match (byte, self.layers.byte(next)) {
            (b'-', Some((b'-', end))) if begins => Some((Layer::Line, end)),
            (b'/', Some((b'*', end))) => Some((Layer::Block, end)),
            _ => None,
        };
        if let Some((layer, end)) = layer {
            self.open(layer, end);
        }
    }

    /// A literal begins. In prose and in names an apostrophe within a word does not begin one.
    fn quote(&mut self, at: usize, next: usize) -> Option<Range<usize>> {
        if self.word.is_secret() && self.word.ended && !self.word.quoted {
            return self.value(at, false); // PASSWORD '…' of SQL
        }
        let is_code = *self.content() == Content::Code && !self.in_identifier;
        let is_open = self.word.is_open();
        match self.word.text() {
            b"e" if is_open => self.open(Layer::Escaped, next),
            b"n" | b"b" | b"x" if is_open => self.open(Layer::Quoted, next),
            _ if is_open && !is_code => self.other(),
            _ => self.open(Layer::Quoted, next),
        }
        None
    }

    fn dollar(&mut self, at: usize) -> Option<Range<usize>> {
        let Some(layer @ Layer::Dollar { length, .. }) = self.layers.dollar(at) else {
            self.other();
            return None;
        };
        if self.word.is_secret() && !self.word.quoted {
            return self.value(at, false);
        }
        self.open(layer, at + length);
        None
    }

    fn equals(&mut self, next: usize) -> Option<Range<usize>> {
        if *self.content() == Content::Word {
            *self.content() = Content::Values;
        }
        self.note_code();
        let (is_secret, in_query) = (self.word.is_secret(), self.word.in_query);
        self.word = Word::default();
        if !is_secret {
            return None;
        }
        let arrow = self.layers.byte(next).filter(|(byte, _)| *byte == b'>');
        self.value(arrow.map_or(next, |(_, end)| end), in_query)
    }

    fn colon(&mut self, next: usize) -> Option<Range<usize>> {
        if self.word.is_secret() && self.word.quoted {
            return self.json_value(next);
        }
        let slashes = || {
            let (_, second) = self.layers.byte(next).filter(|(byte, _)| *byte == b'/')?;
            self.layers.byte(second).filter(|(byte, _)| *byte == b'/').map(|(_, end)| end)
        };
        let (is_scheme, authority) = (self.word.is_open(), slashes());
        let is_postgres = matches!(self.word.text(), b"postgres" | b"postgresql");
        self.other();
        let authority = authority.filter(|_| is_scheme)?;
        self.go_on(authority, b'/');
        let look = uri::user_part(&self.layers, authority, is_postgres, self.without_at);
        if !look.has_at {
            self.without_at = self.without_at.max(look.end);
        }
        self.found(look.secret?)
    }

    /// The value that begins here, after spaces.
    fn value(&mut self, at: usize, in_query: bool) -> Option<Range<usize>> {
        let at = if in_query { at } else { self.skip_space(at) };
        self.go_on(at, b'=');
        let Some((byte, next)) = self.layers.byte(at) else { return self.split_value() };
        match byte {
            b'\'' => return self.quoted_value(next),
            b'$' => {
                if let Some(layer @ Layer::Dollar { length, .. }) = self.layers.dollar(at) {
                    return self.literal_value(layer, at + length);
                }
            }
            b'e' | b'E' => {
                if let Some((b'\'', start)) = self.layers.byte(next) {
                    return self.literal_value(Layer::Escaped, start);
                }
            }
            _ => {}
        }
        self.plain_value(at, in_query)
    }

    /// The literal ends where a value should begin. In a connection string, what looked like a literal
    /// began with an apostrophe, and ended with the quote of a value.
    fn split_value(&mut self) -> Option<Range<usize>> {
        if self.layers.depth() == 0 {
            return None;
        }
        self.close();
        let start = self.at;
        if *self.content() != Content::Values || !self.peek(start).is_some_and(is_value) {
            return None;
        }
        self.found(start..self.next_quote(start))
    }

    fn next_quote(&self, mut at: usize) -> usize {
        while let Some((_, next)) = self.layers.byte(at).filter(|(byte, _)| *byte != b'\'') {
            at = next;
        }
        at
    }

    /// A value in quotes, either libpq's, with backslashes, or SQL's, with quotes doubled.
    fn quoted_value(&mut self, start: usize) -> Option<Range<usize>> {
        if let Some((b'\'', next)) = self.layers.byte(start)
            && self.peek(next) != Some(b'\'')
        {
            // Empty; or, of a text whose quotes could not be told, two that are one.
            let inner = *self.content() == Content::Values && self.peek(next).is_some_and(is_value);
            let end = if inner { self.next_quote(next) } else { next };
            self.go_on(end, b'\'');
            return if inner { self.found(next..end) } else { None };
        }
        let (mut at, mut slashes) = (start, 0_usize);
        while let Some((byte, next)) = self.layers.byte(at) {
            match byte {
                b'\\' => slashes += 1,
                b'\'' => {
                    let doubled = self.layers.byte(next).filter(|(byte, _)| *byte == b'\'');
                    if let (Some((_, after)), 0) = (doubled, slashes) {
                        at = after;
                        continue;
                    }
                    if !self.is_escaped(slashes, next) {
                        let found = self.found(start..at);
                        self.at = next;
                        return found;
                    }
                    slashes = 0;
                }
                _ => slashes = 0,
            }
            at = next;
        }
        self.found(start..at)
    }

    /// Whether a quote after so many backslashes belongs to the value. They may have been doubled by
    /// what the connection string is written in.
    fn is_escaped(&mut self, slashes: usize, next: usize) -> bool {
        let follows = self.peek(next);
        let ends =
            |marks: &[u8]| follows.is_none_or(|byte| is_space(byte) || marks.contains(&byte));
        match slashes % 4 {
            0 => false,
            2 => !ends(b"\"'),;"),
            _ if *self.content() == Content::Values => true,
            _ => {
                let follows = self.peek(self.skip_space(next));
                follows.is_some_and(|byte| !b",;)|".contains(&byte))
            }
        }
    }

    /// A value in the quotes of a literal of its own.
    fn literal_value(&mut self, layer: Layer, start: usize) -> Option<Range<usize>> {
        if !self.layers.open(layer) {
            return self.found(start..self.next_quote(start));
        }
        let mut end = start;
        while let Some((_, next)) = self.layers.byte(end) {
            end = next;
        }
        let next = self.layers.close(end);
        let found = self.found(start..end);
        self.at = next;
        found
    }

    /// A value without quotes.
    fn plain_value(&mut self, start: usize, in_query: bool) -> Option<Range<usize>> {
        let is_code = !in_query && *self.content() == Content::Code;
        let mut at = start;
        while let Some((byte, next)) = self.layers.byte(at) {
            match byte {
                _ if is_space(byte) => break,
                b'&' if in_query => break,
                b'(' if is_code => return None, // a call, which stays visible
                b'\'' | b'"' | b')' | b',' | b';' if is_code => break,
                b'\\' => at = self.layers.byte(next).map_or(next, |(_, after)| after),
                _ => at = next,
            }
        }
        self.found(start..at)
    }

    fn json_value(&mut self, at: usize) -> Option<Range<usize>> {
        let start = self.skip_space(at);
        self.go_on(start, b':');
        let (_, start) = self.layers.byte(start).filter(|(byte, _)| *byte == b'"')?;
        let mut at = start;
        while let Some((byte, next)) = self.layers.byte(at).filter(|(byte, _)| *byte != b'"') {
            let escaped = self.layers.byte(next).filter(|_| byte == b'\\');
            at = escaped.map_or(next, |(_, after)| after);
        }
        self.found(start..at)
    }

    fn found(&mut self, range: Range<usize>) -> Option<Range<usize>> {
        let value = &self.text[range.clone()];
        self.go_on(range.end, b'*');
        (!value.is_empty() && !is_placeholder(value)).then_some(range)
    }
}

impl Iterator for Written<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let found = match self.layers.byte(self.at) {
                Some((byte, next)) => self.step(byte, next),
                None if self.layers.depth() == 0 => return None,
                None => {
                    self.close();
                    None
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

/// What stands for a value: a mask, the dots of a hint, a parameter, a place in a format.
fn is_placeholder(value: &[u8]) -> bool {
    let is_parameter = |rest: &[u8]| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit);
    value == MASK
        || value == "…".as_bytes()
        || matches!(value, b"%s" | b"%L" | b"%I" | b"%")
        || value.strip_prefix(b"$").is_some_and(is_parameter)
}

pub fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Whether a byte after a quote says that the quote does not end a literal.
fn is_value(byte: u8) -> bool {
    !is_space(byte) && !b",;)|:]}'\"".contains(&byte)
}
