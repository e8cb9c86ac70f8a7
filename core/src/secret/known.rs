//! Secrets by their value. A function that was given a connection string notes them, so that they are
//! found in whatever pieces the statement put it together from. No copy is kept: a hash of each, by a
//! key of the process, and its length.

use std::ops::Range;

use super::written::is_space;

/// A statement that is given more notes only the last ones.
const MOST: usize = 16;

/// Arithmetic is modulo this prime, 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Print {
    length: usize,
    hash: u64,
}

/// The secrets that are known by their value.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    key: u64,
    prints: [Print; MOST],
    noted: usize,
}

impl Known {
    pub const NOTHING: Self =
        Self { key: 0, prints: [Print { length: 0, hash: 0 }; MOST], noted: 0 };

    /// `key`: a random number that nobody else knows.
    pub fn new(key: u64) -> Self {
        Self { key: 256 + key % (PRIME - 256), ..Self::NOTHING }
    }

    pub fn is_empty(&self) -> bool {
        self.noted == 0
    }

    /// Notes a secret. One that could be more of a statement than a word is not looked for: a caller
    /// who hides a secret must not be able to hide what it did.
    pub fn note(&mut self, secret: &[u8]) {
        let mut print = Print::default();
        for byte in secret.iter().filter(|byte| counts(**byte)) {
            print.length += 1;
            print.hash = add(multiply(print.hash, self.key), u64::from(*byte));
        }
        if print.length > 0 && !may_be_code(secret) && !self.prints().contains(&print) {
            self.prints[self.noted % MOST] = print;
            self.noted += 1;
        }
    }

    fn prints(&self) -> &[Print] {
        &self.prints[..self.noted.min(MOST)]
    }

    /// Where they are in a text from `start` on, in order.
    pub fn occurrences<'a>(&'a self, text: &'a [u8], start: usize) -> Occurrences<'a> {
        let mut windows = [const { None }; MOST];
        let prints = self.prints();
        for (place, (index, print)) in windows.iter_mut().zip(prints.iter().enumerate()) {
            if !prints[..index].iter().any(|earlier| earlier.length == print.length) {
                let mut window = Windows::new(text, self, print.length, start);
                *place = window.next().map(|found| (found, window));
            }
        }
        Occurrences { windows }
    }
}

/// A merge of what was found for each length.
pub struct Occurrences<'a> {
    windows: [Option<(Range<usize>, Windows<'a>)>; MOST],
}

impl Iterator for Occurrences<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let is_some = self.windows.iter_mut().filter(|place| place.is_some());
        let first = is_some.min_by_key(|place| place.as_ref().map(|(found, _)| found.start))?;
        let (found, mut window) = first.take()?;
        *first = window.next().map(|next| (next, window));
        Some(found)
    }
}

/// Every run of `length` bytes that count, one after the other, with its hash.
struct Windows<'a> {
    text: &'a [u8],
    known: &'a Known,
    length: usize,
    /// The key to the power of the length: what the first byte of a run has become.
    power: u64,
    start: usize,
    end: usize,
    inside: usize,
    hash: u64,
}

impl<'a> Windows<'a> {
    fn new(text: &'a [u8], known: &'a Known, length: usize, start: usize) -> Self {
        let power = (0..length).fold(1, |power, _| multiply(power, known.key));
        Self { text, known, length, power, start, end: start, inside: 0, hash: 0 }
    }

    fn skip_uncounted(&self, at: usize) -> usize {
        at + self.text[at..].iter().take_while(|byte| !counts(**byte)).count()
    }

    /// Takes one more byte in. False at the end.
    fn advance(&mut self) -> bool {
        self.end = self.skip_uncounted(self.end);
        let Some(byte) = self.text.get(self.end) else { return false };
        self.hash = add(multiply(self.hash, self.known.key), u64::from(*byte));
        self.end += 1;
        self.inside += 1;
        self.start = self.skip_uncounted(self.start);
        if self.inside > self.length {
            let gone = multiply(u64::from(self.text[self.start]), self.power);
            self.hash = add(self.hash, PRIME - gone);
            self.start = self.skip_uncounted(self.start + 1);
            self.inside -= 1;
        }
        true
    }
}

impl Iterator for Windows<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while self.advance() {
            let print = Print { length: self.inside, hash: self.hash };
            if self.inside == self.length
                && self.known.prints().contains(&print)
                && stands_alone(self.text, &(self.start..self.end))
            {
                return Some(self.start..self.end);
            }
        }
        None
    }
}

/// Quotes and backslashes do not count: how many there are depends on what the secret is written in.
fn counts(byte: u8) -> bool {
    !matches!(byte, b'\'' | b'"' | b'\\')
}

/// Whether this is a value of its own, and not a part of a word or of a statement.
fn stands_alone(text: &[u8], range: &Range<usize>) -> bool {
    const BEFORE: &[u8] = b"'\\=:$/?&>@%";
    const AFTER: &[u8] = b"'\\$@&:?/%";
    const SPACES: usize = 16;
    let spaces = text[..range.start].iter().rev().take(SPACES);
    let before = spaces.clone().find(|byte| !is_space(**byte));
    let after = text.get(range.end);
    let after_comment = text[..range.start].ends_with(b"*/");
    !after_comment
        && before.is_none_or(|byte| BEFORE.contains(byte))
        && after.is_none_or(|byte| is_space(*byte) || AFTER.contains(byte))
}

/// Whether there is anything in it that separates two words of a statement.
fn may_be_code(text: &[u8]) -> bool {
    text.iter().any(|byte| is_space(*byte) || b";(\"".contains(byte))
        || text.windows(2).any(|pair| matches!(pair, b"/*" | b"--"))
}

fn add(one: u64, other: u64) -> u64 {
    let sum = one + other;
    if sum < PRIME { sum } else { sum - PRIME }
}

fn multiply(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    add((product >> 61) as u64, product as u64 & PRIME)
}
