//! Several readings of one text. If it is uncertain where a statement begins, the text is read from
//! each possible place. Only what is a secret in every reading is masked. One of the readings is
//! correct, so no code is masked.

use std::ops::Range;

use super::parts::{Between, Part, Parts};
use super::{Known, Secrets};

/// The reading of one part. It leaves the text outside of the part to the other readings.
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

/// The ranges that are secrets in every reading, in order. They neither overlap nor touch.
pub struct CommonSecrets<'a> {
    readings: [Option<(Range<usize>, Reading<'a>)>; Parts::MOST],
    between: Between<'a>,
    /// The current text between two heads.
    gap: Range<usize>,
    /// A reading has no further secrets.
    ended: bool,
    following: Option<Range<usize>>,
}

impl<'a> CommonSecrets<'a> {
    pub fn new(text: &'a [u8], parts: &Parts, known: &'a Known) -> Self {
        let mut common = Self {
            readings: [const { None }; Parts::MOST],
            between: Between::new(text, parts),
            gap: 0..0,
            ended: false,
            following: None,
        };
        for (place, part) in common.readings.iter_mut().zip(parts.iter()) {
            let mut reading = Reading {
                part: *part,
                secrets: Secrets::new(text, part, known),
                length: text.len(),
                before: part.start > 0,
                after: part.end < text.len(),
            };
            *place = reading.next().map(|first| (first, reading));
            common.ended |= place.is_none();
        }
        common.following = common.common();
        common
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

impl Iterator for CommonSecrets<'_> {
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
