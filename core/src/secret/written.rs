//! Finds secrets by what is written before them: a keyword of libpq and an equals sign, however the
//! connection string is quoted; the user part of a URI; `PASSWORD '…'` in SQL; a key in JSON.
//!
//! If it is unclear where a value ends, the longer possibility is masked. But a value never extends
//! beyond the literal or comment that contains it, because an audit needs the rest of the
//! statement. Statements are read by the rules of scan.l. In a statement, nothing outside of
//! literals and comments is masked, whether it looks like a value or stands in the quotes of a
//! name.

use std::ops::Range;

use super::layers::{Layer, Layers};
use super::parts::Part;
use super::{Kind, MASK, uri};

/// Keywords whose values are secrets, and one variable of libpq's environment.
const KEYWORDS: [&[u8]; 6] = [
    b"password",
    b"sslpassword",
    b"oauth_client_secret",
    b"scram_client_key",
    b"scram_server_key",
    b"pgpassword",
];
const LONGEST: usize = 19;

/// The last word, in lower case, with a URI's percent encoding decoded.
#[derive(Default)]
struct Word {
    bytes: [u8; LONGEST],
    /// The length of the whole word. Only its beginning is kept.
    length: usize,
    /// A byte that is not part of a word has followed.
    ended: bool,
    /// That byte was a double quote.
    quoted: bool,
    /// The byte before the word is `?` or `&`.
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

/// What the words of a statement tell about a literal after `PASSWORD`.
#[derive(Clone, Copy, Default)]
struct Clause {
    /// The last word is CREATE, ALTER or IMPORT.
    verb: bool,
    /// The statement is about roles, user mappings or foreign servers. In any other statement,
    /// `password '…'` is a constant of a type with that name.
    has_passwords: bool,
}

/// What is known so far about the content of a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Nothing has been read yet.
    Fresh,
    /// One word.
    Word,
    /// A connection string, or JSON that may contain one. A value ends at a space.
    Values,
    /// Anything else, which may be code.
    Code,
}

pub struct Written<'a> {
    text: &'a [u8],
    layers: Layers<'a>,
    /// By depth.
    content: [Content; 8],
    /// By depth.
    clause: [Clause; 8],
    /// The kind of a literal without a prefix.
    plain: Layer,
    /// Whether the meaning of a backslash in a literal is unknown. Then only what is a literal with
    /// both meanings is masked.
    is_sql: bool,
    /// A literal ended with a backslash. With standard_conforming_strings off, it continues.
    is_ambiguous: bool,
    /// Outside of quotes, a value ends where code may begin.
    is_prose: bool,
    /// Outside of quotes, double quotes enclose a field.
    has_fields: bool,
    /// The depth of the part itself.
    base: usize,
    at: usize,
    /// The byte before `at` in this layer.
    before: u8,
    word: Word,
    /// The word before the current comment.
    word_before: Word,
    /// Whether the text is inside double quotes, where an apostrophe has no meaning.
    in_identifier: bool,
    /// No `@` was found before this place.
    without_at: usize,
}

impl<'a> Written<'a> {
    pub fn new(text: &'a [u8], part: &Part) -> Self {
        let text = &text[..part.end];
        let layers = part.layers(text);
        let kind = part.kind;
        let outside = if kind.is_code() { Content::Code } else { Content::Values };
        Self {
            text,
            base: layers.depth(),
            layers,
            content: [outside; 8],
            clause: [Clause::default(); 8],
            plain: kind.plain(),
            is_sql: kind == Kind::Sql,
            is_ambiguous: false,
            is_prose: kind == Kind::Text,
            has_fields: kind == Kind::Fields,
            at: if kind == Kind::Names { part.end } else { part.start },
            before: 0,
            word: Word::default(),
            word_before: Word::default(),
            in_identifier: false,
            without_at: 0,
        }
    }

    /// Whether reading continues at `at` in the same way as if a statement began there.
    pub fn begins_at(&mut self, at: usize) -> bool {
        while self.at < at {
            if self.next_step().is_none() {
                return false;
            }
        }
        self.at == at && self.is_outermost_code() && !self.is_ambiguous
    }

    fn content(&mut self) -> &mut Content {
        &mut self.content[self.layers.depth()]
    }

    fn open(&mut self, layer: Layer, at: usize) {
        self.note_code();
        if self.layers.open(layer) {
            *self.content() = if self.layers.in_comment() { Content::Code } else { Content::Fresh };
            if !self.layers.in_comment() {
                self.clause[self.layers.depth()] = Clause::default();
            }
        }
        let word = std::mem::take(&mut self.word);
        if self.layers.in_comment() {
            self.word_before = Word { ended: true, ..word };
        }
        self.in_identifier = false;
        self.go_on(at, 0);
    }

    fn close(&mut self) {
        let is_comment = self.layers.in_comment();
        self.note_backslash(self.at);
        let next = self.layers.close(self.at);
        self.in_identifier = false;
        self.go_on(next, b'\'');
        if is_comment {
            self.word = std::mem::take(&mut self.word_before);
        }
    }

    fn note_backslash(&mut self, end: usize) {
        let is_plain = self.is_sql && self.layers.innermost() == Some(Layer::Quoted);
        self.is_ambiguous |= is_plain && self.text[..end].ends_with(b"\\");
    }

    /// Whether the current place is in a statement, outside of its literals and comments.
    fn is_code(&self) -> bool {
        self.content[self.layers.depth()] == Content::Code && !self.layers.in_comment()
    }

    fn is_outermost_code(&self) -> bool {
        self.is_code() && self.layers.depth() <= self.base
    }

    fn go_on(&mut self, at: usize, before: u8) {
        (self.at, self.before) = (at, before);
        self.word = Word::default();
    }

    /// The text just read does not begin a connection string.
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

    /// Skips spaces and comments.
    fn skip_blank(&self, mut at: usize) -> usize {
        loop {
            at = self.skip_space(at);
            let Some((first, next)) = self.layers.byte(at) else { return at };
            match (first, self.layers.byte(next)) {
                (b'/', Some((b'*', start))) => {
                    let end = self.layers.block_end(start);
                    let Some((_, slash)) = self.layers.byte(end) else { return end };
                    let Some((_, next)) = self.layers.byte(slash) else { return slash };
                    at = next;
                }
                (b'-', Some((b'-', start))) => {
                    at = start;
                    while let Some((byte, next)) = self.layers.byte(at) {
                        if matches!(byte, b'\n' | b'\r') {
                            break;
                        }
                        at = next;
                    }
                }
                _ => return at,
            }
        }
    }

    /// Reads a name in double quotes. Nothing in it begins a literal or comment.
    fn identifier(&mut self, mut at: usize) {
        self.end_word();
        let mut word = Word::default();
        while let Some((byte, next)) = self.layers.byte(at) {
            at = next;
            if byte == b'"' {
                match self.layers.byte(next) {
                    Some((b'"', after)) => at = after,
                    _ => break,
                }
            }
            word.push(byte, 0);
        }
        (word.ended, word.quoted) = (true, true);
        self.go_on(at, b'"');
        self.word = word;
    }

    /// Ends the current word.
    fn end_word(&mut self) {
        let name = !self.word.quoted;
        let depth = self.layers.depth();
        let verb = name && matches!(self.word.text(), b"create" | b"alter" | b"import");
        let noun = b"role user group server foreign";
        let is_noun = name
            && self.word.length > 0
            && noun.split(|byte| *byte == b' ').any(|it| it == self.word.text());
        let clause = &mut self.clause[depth];
        clause.has_passwords |= clause.verb && is_noun;
        clause.verb = verb;
    }

    /// The secret found by one more step. The outer `None` marks the end of the text.
    fn next_step(&mut self) -> Option<Option<Range<usize>>> {
        match self.layers.byte(self.at) {
            Some((byte, next)) => Some(self.step(byte, next)),
            None if self.layers.depth() <= self.base => None,
            None => {
                self.close();
                Some(None)
            }
        }
    }

    fn step(&mut self, byte: u8, next: usize) -> Option<Range<usize>> {
        let before = std::mem::replace(&mut self.before, byte);
        let at = std::mem::replace(&mut self.at, next);
        match byte {
            b'%' if *self.content() != Content::Code => self.percent(before, next),
            b'=' => return self.equals(next),
            b':' => return self.colon(next),
            b'\'' if !self.layers.in_comment() => return self.quote(at, next),
            b'$' if !self.layers.in_comment() && !self.word.is_open() => {
                return self.dollar(at);
            }
            b'"' if self.has_fields && self.layers.depth() == 0 => self.open(Layer::Field, next),
            b'"' if self.is_code() => self.identifier(next),
            b'"' => {
                self.word.quoted = self.word.is_open();
                self.word.ended = true;
                self.in_identifier = !self.in_identifier;
                self.note_code();
            }
            b'{' | b'[' if *self.content() == Content::Fresh => *self.content() = Content::Values,
            b'-' | b'/' => self.comment(byte, next),
            b'$' if self.word.is_open() && self.is_code() => self.word.push(byte, before),
            b'e' | b'E' | b'u' | b'U'
                if !self.word.is_open() && self.is_password() && self.is_prefix(byte, next) =>
            {
                return self.value(at, false);
            }
            _ if is_letter(byte) => self.letter(byte, before),
            _ if is_space(byte) => self.word.ended = true,
            b';' => {
                self.other();
                self.clause[self.layers.depth()] = Clause::default();
            }
            _ => self.other(),
        }
        None
    }

    fn letter(&mut self, byte: u8, before: u8) {
        let starts = !self.word.is_open();
        if starts && self.is_code() {
            self.end_word();
        }
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
        if self.is_code() {
            self.end_word();
            self.clause[self.layers.depth()].verb = false;
        }
        self.word = Word::default();
        self.note_code();
    }

    /// Decodes a percent-encoded letter: `pass%77ord` is a keyword in a URI.
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

    fn comment(&mut self, byte: u8, next: usize) {
        let layer = match (byte, self.layers.byte(next)) {
            _ if *self.content() == Content::Values || self.layers.in_comment() => None,
            (b'-', Some((b'-', end))) => Some((Layer::Line, end)),
            (b'/', Some((b'*', end))) => {
                Some((Layer::Block { end: self.layers.block_end(end) }, end))
            }
            _ => None,
        };
        match layer {
            Some((layer, end)) => self.open(layer, end),
            None => self.other(),
        }
    }

    /// Begins a literal. In prose and in names, an apostrophe within a word does not begin one.
    fn quote(&mut self, at: usize, next: usize) -> Option<Range<usize>> {
        if self.word.ended && self.is_password() {
            return self.value(at, false); // PASSWORD '…' of SQL
        }
        let is_code = self.is_code();
        let is_open = self.word.is_open();
        match self.word.text() {
            b"e" if is_open => self.open(Layer::Escaped, next),
            b"n" if is_open => self.open(self.plain, next),
            b"b" | b"x" if is_open => self.open(Layer::Quoted, next),
            _ if is_open && !is_code => self.other(),
            _ => self.open(self.plain, next),
        }
        None
    }

    /// Whether a literal begins with this letter: `E'`, `U&'`.
    fn is_prefix(&self, letter: u8, next: usize) -> bool {
        let second = self.layers.byte(next);
        match (letter.to_ascii_lowercase(), second) {
            (b'e', Some((b'\'', _))) => true,
            (b'u', Some((b'&', end))) => self.peek(end) == Some(b'\''),
            _ => false,
        }
    }

    /// Whether a literal that follows is the password of a role or of a user mapping.
    fn is_password(&self) -> bool {
        self.is_code() && self.word.is_secret() && self.clause[self.layers.depth()].has_passwords
    }

    fn dollar(&mut self, at: usize) -> Option<Range<usize>> {
        let Some(layer @ Layer::Dollar { length, .. }) = self.layers.dollar(at) else {
            self.other();
            return None;
        };
        if self.is_password() {
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
        if self.word.is_secret() && self.word.quoted && !self.is_code() {
            return self.json_value(next);
        }
        let slashes = || {
            let (_, second) = self.layers.byte(next).filter(|(byte, _)| *byte == b'/')?;
            self.layers.byte(second).filter(|(byte, _)| *byte == b'/').map(|(_, end)| end)
        };
        let (is_scheme, authority) = (self.word.is_open(), slashes());
        let is_postgres = matches!(self.word.text(), b"postgres" | b"postgresql");
        let is_all = *self.content() == Content::Word && is_scheme && authority.is_some();
        if is_all {
            *self.content() = Content::Values; // no statement begins like this
        }
        let in_code = self.is_outermost_code();
        self.other();
        let authority = authority.filter(|_| is_scheme && !in_code)?;
        self.go_on(authority, b'/');
        let user_part =
            uri::user_part(&self.layers, authority, is_postgres, is_all, self.without_at);
        if !user_part.has_at {
            self.without_at = self.without_at.max(user_part.end);
        }
        self.found(user_part.secret?)
    }

    /// Reads the value that begins here, after spaces.
    fn value(&mut self, at: usize, in_query: bool) -> Option<Range<usize>> {
        let is_code = self.is_code();
        let at = match () {
            () if in_query => at,
            () if is_code => self.skip_blank(at),
            () => self.skip_space(at),
        };
        self.go_on(at, b'=');
        let Some((byte, next)) = self.layers.byte(at) else { return self.split_value() };
        match byte {
            b'\'' if is_code => return self.literal_value(self.plain, next),
            b'\'' => return self.quoted_value(next),
            b'u' | b'U' if is_code => {
                if let Some((b'&', quote)) = self.layers.byte(next)
                    && let Some((b'\'', start)) = self.layers.byte(quote)
                {
                    return self.literal_value(Layer::Quoted, start);
                }
            }
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

    /// The literal ends where a value should begin. In a connection string, the apparent literal
    /// began with an apostrophe and ended with the opening quote of a value.
    fn split_value(&mut self) -> Option<Range<usize>> {
        if self.layers.depth() <= self.base {
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

    /// Reads a value in quotes: libpq's, with backslashes, or SQL's, with quotes doubled.
    fn quoted_value(&mut self, start: usize) -> Option<Range<usize>> {
        if let Some((b'\'', next)) = self.layers.byte(start)
            && self.peek(next) != Some(b'\'')
        {
            // An empty value, or two quotes that stand for one in a text whose quoting is unknown.
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

    /// Whether a quote after this number of backslashes belongs to the value. The text around the
    /// connection string may have doubled the backslashes.
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

    /// Reads a value in the quotes of its own literal.
    fn literal_value(&mut self, layer: Layer, start: usize) -> Option<Range<usize>> {
        if !self.layers.open(layer) {
            return self.found(start..self.next_quote(start));
        }
        let mut end = start;
        while let Some((_, next)) = self.layers.byte(end) {
            end = next;
        }
        let ends = self.text[..end].ends_with(b"\\") && self.is_sql && layer == Layer::Quoted;
        let next = self.layers.close(end);
        let found = self.found(start..end);
        self.is_ambiguous |= ends;
        self.at = next;
        found
    }

    /// Reads a value without quotes. A statement contains none. In a literal that may be a
    /// statement, the value is one word.
    fn plain_value(&mut self, start: usize, in_query: bool) -> Option<Range<usize>> {
        if self.is_outermost_code() {
            return None;
        }
        let is_code = !in_query && self.is_code();
        let is_prose = self.is_prose && !in_query && self.layers.depth() == 0;
        let mut at = start;
        while let Some((byte, next)) = self.layers.byte(at) {
            let second = self.peek(next);
            match byte {
                _ if is_space(byte) => break,
                b'&' if in_query => break,
                b'(' if is_code => return None, // a call, which stays visible
                _ if is_code && !is_letter(byte) => break,
                b'(' | b')' | b';' if is_prose => break,
                b'/' if is_prose && second == Some(b'*') => break,
                b'-' if is_prose && second == Some(b'-') => break,
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
        let is_secret = !value.is_empty() && !is_placeholder(value) && !self.is_ambiguous;
        is_secret.then_some(range)
    }
}

impl Iterator for Written<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            if let Some(found) = self.next_step()? {
                return Some(found);
            }
        }
    }
}

/// Whether a text may contain a secret, by a quick search. Most texts contain none and are then not
/// read.
pub fn may_be_in(text: &[u8]) -> bool {
    let begins = |at: usize, word: &[u8]| {
        text.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word))
    };
    text.iter().enumerate().any(|(at, byte)| match byte {
        b's' | b'S' => begins(at, b"sword"),
        b'_' => begins(at, b"_key") || begins(at, b"_secret"),
        b':' => begins(at, b"://"),
        // Encoded letters, or a literal that continues on the next line.
        b'%' | b'\\' => true,
        b'\'' => {
            let rest = text[at + 1..].iter().take_while(|byte| is_space(**byte));
            let spaces = rest.clone().count();
            rest.into_iter().any(|byte| matches!(byte, b'\n' | b'\r'))
                && text.get(at + 1 + spaces) == Some(&b'\'')
        }
        _ => false,
    })
}

/// Whether a value is only a placeholder: a mask, the dots of a hint, a parameter, a conversion of
/// a format.
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

pub fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Whether a byte after a quote shows that the quote does not end the literal.
fn is_value(byte: u8) -> bool {
    !is_space(byte) && !b",;)|:]}'\"".contains(&byte)
}
