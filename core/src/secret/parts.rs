//! Finds where the statements of an error report begin. The text before a statement may contain
//! names that a client chose, with quotes in them. So each statement is read from its own start.

use std::ops::Range;

use super::Kind;
use super::layers::{Layer, Layers};
use super::written::Written;

/// A part of a text. It is read on its own.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
    /// The layer that the part is written in. The layer may end before the part does.
    layer: Option<Layer>,
}

impl Part {
    const NOTHING: Self = Self { start: 0, end: 0, kind: Kind::Names, layer: None };

    pub fn whole(text: &[u8], kind: Kind) -> Self {
        Self { end: text.len(), kind, ..Self::NOTHING }
    }

    pub fn with(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    pub fn layers<'a>(&self, text: &'a [u8]) -> Layers<'a> {
        let mut layers = Layers::new(text);
        if let Some(layer) = self.layer {
            layers.open(layer);
        }
        layers
    }
}

/// The parts of a text. Together they cover it. Where parts overlap, only what is a secret in each
/// of them is masked.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    parts: [Part; Self::MOST],
    count: usize,
    /// Heads: known starts of lines. Text of a head is never part of a secret.
    heads: [Head; Self::HEADS],
}

/// The number of fields before the statement in a line of pgaudit. The parameters follow it.
const FIELDS_BEFORE_STATEMENT: usize = 7;

impl Parts {
    pub const MOST: usize = 6;
    pub const HEADS: usize = 6;

    pub fn whole(text: &[u8], kind: Kind) -> Self {
        let mut parts = [Part::NOTHING; Self::MOST];
        parts[0] = Part::whole(text, kind);
        Self { parts, count: 1, heads: [Head::NONE; Self::HEADS] }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts[..self.count].iter()
    }

    /// Returns false if there are too many parts.
    fn add(&mut self, start: usize, end: usize, kind: Kind, layer: Option<Layer>) -> bool {
        let Some(place) = self.parts.get_mut(self.count) else { return false };
        *place = Part { start, end, kind, layer };
        self.count += 1;
        true
    }

    /// A text that ends with a statement; names may come before it.
    pub fn from(text: &[u8], start: usize, kind: Kind) -> Self {
        let mut parts = Self::whole(&text[..start], Kind::Names);
        parts.add(start, text.len(), kind, None);
        parts
    }

    /// A line of pgaudit: names, the statement, its parameters.
    pub fn audit(text: &[u8], kind: Kind) -> Self {
        let mut start = 0;
        for _ in 0..FIELDS_BEFORE_STATEMENT {
            start = end_of_field(text, start) + 1;
            if start > text.len() {
                return Self::whole(text, Kind::Names);
            }
        }
        let end = end_of_field(text, start);
        let is_quoted = text.get(start) == Some(&b'"');
        let start = start + usize::from(is_quoted);
        let mut parts = Self::whole(&text[..start], Kind::Names);
        parts.add(start, end, kind, is_quoted.then_some(Layer::Field));
        parts.add(end, text.len(), Kind::Fields, None);
        parts
    }

    /// A report of auto_explain in any of its formats: a line, the statement, its plan.
    pub fn plan(text: &[u8], kind: Kind) -> Self {
        const STATEMENTS: [(&[u8], Layer); 3] = [
            (b"{\n  \"Query Text\": \"", Layer::Json),
            (b"Query Text: \"", Layer::Json),
            (b"<Query-Text>", Layer::Xml),
        ];
        let plan = text.iter().position(|byte| *byte == b'\n').map_or(0, |line| line + 1);
        let found = STATEMENTS.into_iter().find_map(|(mark, layer)| {
            let near = &text[plan..text.len().min(plan + 200)];
            let at = match layer {
                Layer::Xml => near.windows(mark.len()).position(|part| part == mark)?,
                _ => near.starts_with(mark).then_some(0)?,
            };
            Some((plan + at + mark.len(), layer))
        });
        let Some((start, layer)) = found else { return Self::from(text, plan, kind) };
        let mut layers = Layers::new(text);
        layers.open(layer);
        let mut end = start;
        while let Some((_, next)) = layers.byte(end) {
            end = next;
        }
        let mut parts = Self::whole(&text[..start], Kind::Names);
        parts.add(start, end, kind, Some(layer));
        parts.add(end, text.len(), Kind::Text, None);
        parts
    }

    /// A CONTEXT or a DETAIL, in which statements follow heads. A statement may contain a line that
    /// looks like a head, and a name between statements may contain quotes. So the text is read
    /// once from each place at which a statement may begin.
    pub fn quoted(text: &[u8], heads: &[Head; Self::HEADS]) -> Self {
        let Some(first) = next_statement(text, 0, heads) else {
            return Self { heads: *heads, ..Self::whole(text, Kind::Text) };
        };
        let end = start_of_parameters(text).filter(|start| *start >= first).unwrap_or(text.len());
        let mut parts = Self { heads: *heads, ..Self::whole(&text[..first], Kind::Text) };
        parts.add(first, end, Kind::Sql, None);
        let mut readings: [Option<Written>; Self::MOST] = [const { None }; Self::MOST];
        readings[1] = Some(Written::new(text, &parts.parts[1]));
        let mut at = first;
        while let Some(start) = next_statement(text, at, heads).filter(|start| *start < end) {
            at = start;
            if readings.iter_mut().flatten().any(|reading| reading.begins_at(start)) {
                continue;
            }
            let kind = if parts.count < Self::MOST - 2 { Kind::Sql } else { Kind::Names };
            let place = parts.count;
            parts.add(start, end, kind, None);
            if kind == Kind::Names {
                break; // too many places: from here on no code is masked
            }
            readings[place] = Some(Written::new(text, &parts.parts[place]));
        }
        if end < text.len() {
            parts.add(end, text.len(), Kind::Text, None);
        }
        parts
    }
}

/// The end of a field of comma-separated values: a comma, or the end of the text.
fn end_of_field(text: &[u8], start: usize) -> usize {
    let mut quoted = false;
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.iter().position(|byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    end.map_or(text.len(), |end| start + end)
}

/// The fixed text of a PostgreSQL message before the statement or name that it quotes.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    text: &'static [u8],
    /// The fixed text after a number, if the head contains one.
    after_number: Option<&'static [u8]>,
    is_line: bool,
}

impl Head {
    /// Matches nothing.
    pub const NONE: Self = Self { text: b"\0", after_number: None, is_line: false };

    /// The head of a format such as `Process %d: %s`. `NONE` if the format begins with the
    /// statement.
    pub fn of(format: &'static [u8]) -> Self {
        let percent = |text: &[u8]| text.iter().position(|byte| *byte == b'%');
        let (text, rest) = format.split_at(percent(format).unwrap_or(0));
        let after_number = rest.strip_prefix(b"%d").map(|rest| {
            let end = percent(rest).unwrap_or(rest.len());
            &rest[..end]
        });
        if text.is_empty() { Self::NONE } else { Self { text, after_number, is_line: false } }
    }

    /// The head of a line that quotes a name.
    pub fn of_line(format: &'static [u8]) -> Self {
        Self { is_line: true, ..Self::of(format) }
    }

    /// The length of this head at the start of a text.
    fn length(&self, text: &[u8]) -> Option<usize> {
        let rest = text.strip_prefix(self.text)?;
        if self.is_line {
            return Some(text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len()));
        }
        let Some(after) = self.after_number else { return Some(self.text.len()) };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_head = digits > 0 && rest[digits..].starts_with(after);
        is_head.then_some(self.text.len() + digits + after.len())
    }
}

/// The first head at the start of a line, at `at` or later, and its range.
fn next_head(text: &[u8], at: usize, heads: &[Head]) -> Option<(Range<usize>, Head)> {
    let mut start = at;
    loop {
        if start == 0 || text[start - 1] == b'\n' {
            let line = &text[start..];
            let found = heads.iter().find_map(|head| Some((head.length(line)?, *head)));
            if let Some((length, head)) = found {
                return Some((start..start + length, head));
            }
        }
        start += text[start..].iter().position(|byte| *byte == b'\n')? + 1;
    }
}

/// The place after the first head that introduces a statement.
fn next_statement(text: &[u8], mut at: usize, heads: &[Head]) -> Option<usize> {
    loop {
        let (range, head) = next_head(text, at, heads)?;
        if !head.is_line {
            return Some(range.end);
        }
        at = range.end;
    }
}

/// The text between the heads.
pub struct Between<'a> {
    text: &'a [u8],
    heads: [Head; Parts::HEADS],
    at: Option<usize>,
}

impl<'a> Between<'a> {
    pub fn new(text: &'a [u8], parts: &Parts) -> Self {
        Self { text, heads: parts.heads, at: Some(0) }
    }
}

impl Iterator for Between<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at?;
        let head = next_head(self.text, start, &self.heads).map(|(range, _)| range);
        self.at = head.as_ref().map(|head| head.end);
        // The line break before a head belongs to the head.
        Some(start..head.map_or(self.text.len(), |head| head.start.saturating_sub(1).max(start)))
    }
}

/// The start of a query's parameters, which come last in a CONTEXT: `$1 = '…', $2 = NULL`. Because
/// they reach to the end of the text, no part of a statement can look like them.
fn start_of_parameters(text: &[u8]) -> Option<usize> {
    const FIRST: &[u8] = b"$1 = ";
    const TRIES: usize = 8;
    let starts = text.windows(FIRST.len()).enumerate().filter(|(_, part)| *part == FIRST);
    starts.map(|(start, _)| start).take(TRIES).find(|start| are_parameters(&text[*start..]))
}

fn are_parameters(mut text: &[u8]) -> bool {
    loop {
        let Some(rest) = text.strip_prefix(b"$") else { return false };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let Some(value) = rest[digits..].strip_prefix(b" = ") else { return false };
        let Some(rest) = after_value(value) else { return false };
        match rest.strip_prefix(b", ") {
            Some(more) => text = more,
            None => return rest.is_empty(),
        }
    }
}

fn after_value(text: &[u8]) -> Option<&[u8]> {
    let Some(mut rest) = text.strip_prefix(b"'") else { return text.strip_prefix(b"NULL") };
    loop {
        let quote = rest.iter().position(|byte| *byte == b'\'')?;
        rest = &rest[quote + 1..];
        match rest.strip_prefix(b"'") {
            Some(more) => rest = more,
            None => return Some(rest),
        }
    }
}
