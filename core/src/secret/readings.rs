//! Several readings of one text. Where it is not certain where a statement begins, the text is read from each
//! place where one may, and masked is what is a secret in every reading: one of them is the right one, in
//! which no code is masked.

use std::ops::Range;

use super::parts::{Between, Part, Parts};
use super::{Known, Secrets};

/// One part of a text. What is outside of the part is left to the others.
struct Reading<'a> {
    part: Part,
    secrets: Secrets<'a>,
    length: usize,
    before: bool,
    after: bool,
}

impl Iterator for Reading<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if std::mem::take(&mut self.before) {
            return Some(0..self.part.start);
        }
        let found = self.secrets.next();
        if found.is_none() && std::mem::take(&mut self.after) {
            return Some(self.part.end..self.length);
        }
        found
    }
}

/// What all readings agree on: the places of a text's secrets, in order, none touching another.
pub struct Agreed<'a> {
    readings: [Option<(Range<usize>, Reading<'a>)>; Parts::MOST],
    between: Between<'a>,
    /// A part of the text without heads.
    gap: Range<usize>,
    /// A reading is at its end.
    ended: bool,
    following: Option<Range<usize>>,
}

impl<'a> Agreed<'a> {
    pub fn new(text: &'a [u8], parts: &Parts, known: &'a Known) -> Self {
        let mut agreed = Self {
            readings: [const { None }; Parts::MOST],
            between: Between::new(text, parts),
            gap: 0..0,
            ended: false,
            following: None,
        };
        for (place, part) in agreed.readings.iter_mut().zip(parts.iter()) {
            let mut reading = Reading {
                part: *part,
                secrets: Secrets::new(text, part, known),
                length: text.len(),
                before: part.start > 0,
                after: part.end < text.len(),
            };
            *place = reading.next().map(|first| (first, reading));
            agreed.ended |= place.is_none();
        }
        agreed.following = agreed.common();
        agreed
    }

    /// The next range that is in all readings.
    fn common(&mut self) -> Option<Range<usize>> {
        while !self.ended {
            let current = || self.readings.iter().flatten().map(|(range, _)| range);
            let start = current().map(|range| range.start).max()?.max(self.gap.start);
            let end = current().map(|range| range.end).min()?.min(self.gap.end);
            if self.gap.end == end {
                match self.between.next() {
                    Some(next) => self.gap = next,
                    None => self.ended = true,
                }
            }
            for (range, reading) in self.readings.iter_mut().flatten() {
                if range.end == end {
                    match reading.next() {
                        Some(next) => *range = next,
                        None => self.ended = true,
                    }
                }
            }
            if start < end {
                return Some(start..end);
            }
        }
        None
    }
}

impl Iterator for Agreed<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut found = self.following.take()?;
        loop {
            self.following = self.common();
            match &self.following {
                Some(more) if more.start <= found.end => found.end = more.end,
                _ => return Some(found),
            }
        }
    }
}
