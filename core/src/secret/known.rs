//! Finds secrets by their value. A function that receives a connection string notes its secrets, so
//! they are found even if the statement assembles them from pieces. No copy of a secret is kept,
//! only its length and a hash with a random key of this process.

use std::ops::Range;

use super::written::is_space;

/// The most secrets that are kept. Of more, the last ones are kept.
const MOST: usize = 16;

/// Hashes are computed modulo this prime, 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Fingerprint {
    length: usize,
    hash: u64,
}

/// The secrets that are known by their value.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    key: u64,
    fingerprints: [Fingerprint; MOST],
    noted: usize,
}

impl Known {
    pub const NOTHING: Self =
        Self { key: 0, fingerprints: [Fingerprint { length: 0, hash: 0 }; MOST], noted: 0 };

    /// `key`: a secret random number.
    pub fn new(key: u64) -> Self {
        Self { key: 256 + key % (PRIME - 256), ..Self::NOTHING }
    }

    pub fn is_empty(&self) -> bool {
        self.noted == 0
    }

    /// Notes a secret. A value that could contain code is not noted: a caller must not be able to
    /// hide what a statement does by passing it as a secret.
    pub fn note(&mut self, secret: &[u8]) {
        let mut fingerprint = Fingerprint::default();
        for byte in secret.iter().filter(|byte| counts(**byte)) {
            fingerprint.length += 1;
            fingerprint.hash = add(multiply(fingerprint.hash, self.key), u64::from(*byte));
        }
        if fingerprint.length > 0
            && !may_be_code(secret)
            && !self.fingerprints().contains(&fingerprint)
        {
            self.fingerprints[self.noted % MOST] = fingerprint;
            self.noted += 1;
        }
    }

    fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints[..self.noted.min(MOST)]
    }

    /// The ranges of the secrets in a text from `start` on, in order.
    pub fn occurrences<'a>(&'a self, text: &'a [u8], start: usize) -> Occurrences<'a> {
        let mut windows = [const { None }; MOST];
        let fingerprints = self.fingerprints();
        for (place, (index, fingerprint)) in windows.iter_mut().zip(fingerprints.iter().enumerate())
        {
            if !fingerprints[..index].iter().any(|earlier| earlier.length == fingerprint.length) {
                let mut window = Windows::new(text, self, fingerprint.length, start);
                *place = window.next().map(|found| (found, window));
            }
        }
        Occurrences { windows }
    }
}

/// Merges the occurrences of all lengths.
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

/// Every sequence of `length` counted bytes, one after the other, with its hash.
struct Windows<'a> {
    text: &'a [u8],
    known: &'a Known,
    length: usize,
    /// The key to the power of the length: the factor of the first byte of the sequence.
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

    /// Moves the window by one byte. Returns false at the end.
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
            let fingerprint = Fingerprint { length: self.inside, hash: self.hash };
            if self.inside == self.length
                && self.known.fingerprints().contains(&fingerprint)
                && stands_alone(self.text, &(self.start..self.end))
            {
                return Some(self.start..self.end);
            }
        }
        None
    }
}

/// Whether a byte counts. Quotes and backslashes do not: their number depends on the quoting around
/// the secret.
fn counts(byte: u8) -> bool {
    !matches!(byte, b'\'' | b'"' | b'\\')
}

/// Whether the range is a complete value and not part of a word or of a statement.
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

/// Whether the text contains anything that separates two words of a statement.
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
