//! The string literals of a statement. Secrets known by their value are masked only in these.

use std::ops::Range;

use super::layers::{Layer, Layers};
use super::parts::Part;
use super::written::{is_letter, is_space};

pub struct Literals<'a> {
    text: &'a [u8],
    layers: Layers<'a>,
    plain: Layer,
    /// The depth of the part itself.
    base: usize,
    /// The whole text is prose.
    is_prose: bool,
    at: usize,
    /// The place at which the current word begins.
    word: Option<usize>,
}

impl<'a> Literals<'a> {
    pub fn new(text: &'a [u8], part: &Part) -> Self {
        let text = &text[..part.end];
        let layers = part.layers(text);
        Self {
            text,
            base: layers.depth(),
            layers,
            plain: part.kind.plain(),
            is_prose: !part.kind.is_code(),
            at: part.start,
            word: None,
        }
    }

    fn skip_to(&mut self, end: u8, mut at: usize) -> usize {
        while let Some((byte, next)) = self.layers.byte(at) {
            at = next;
            if byte == end {
                break;
            }
        }
        at
    }

    /// The whole content of a layer.
    fn whole(&mut self, layer: Layer, start: usize) -> Option<Range<usize>> {
        if !self.layers.open(layer) {
            return None;
        }
        let mut end = start;
        while let Some((_, next)) = self.layers.byte(end) {
            end = next;
        }
        self.at = self.layers.close(end);
        Some(start..end)
    }

    /// A dollar-quoted text with spaces may be the body of a function or of DO, so it is read as a
    /// statement. A value has no spaces.
    fn dollar(&mut self, at: usize) -> Option<Range<usize>> {
        let layer @ Layer::Dollar { length, .. } = self.layers.dollar(at)? else { return None };
        let start = at + length;
        if !self.layers.open(layer) {
            return None;
        }
        let mut end = start;
        while let Some((byte, next)) = self.layers.byte(end) {
            if is_space(byte) {
                self.at = start;
                return None;
            }
            end = next;
        }
        self.at = self.layers.close(end);
        Some(start..end)
    }

    fn step(&mut self, byte: u8, at: usize, next: usize) -> Option<Range<usize>> {
        let word = self.word.filter(|_| byte == b'$' || byte == b'\'');
        if !is_letter(byte) {
            self.word = None;
        } else if self.word.is_none() {
            self.word = Some(at);
        }
        let second = self.layers.byte(next);
        match byte {
            // A doubled quote ends one name and begins the next, which has the same result.
            b'"' => self.at = self.skip_to(b'"', next),
            b'\'' => {
                let is_escaped = word.is_some_and(|start| {
                    let word = &self.text[start..at];
                    word.eq_ignore_ascii_case(b"e")
                });
                return self.whole(if is_escaped { Layer::Escaped } else { self.plain }, next);
            }
            b'$' if word.is_none() => return self.dollar(at),
            b'$' => self.word = word,
            b'-' if matches!(second, Some((b'-', _))) => {
                self.whole(Layer::Line, next);
            }
            b'/' => {
                if let Some((b'*', start)) = second {
                    let end = self.layers.block_end(start);
                    self.whole(Layer::Block { end }, start);
                }
            }
            _ => {}
        }
        None
    }
}

impl Iterator for Literals<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            if self.is_prose {
                let rest = self.at..self.text.len();
                self.at = self.text.len();
                return (!rest.is_empty()).then_some(rest);
            }
            let at = self.at;
            let found = match self.layers.byte(at) {
                Some((byte, next)) => {
                    self.at = next;
                    self.step(byte, at, next)
                }
                None if self.layers.depth() <= self.base => return None,
                None => {
                    self.at = self.layers.close(at);
                    self.word = None;
                    None
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }
}
