//! A position in the write-ahead log.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const ZERO: Self = Self(0);

    /// Bytes of WAL from here to a later position; 0 if it is not later.
    pub fn bytes_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }

    /// The position `bytes` before this one, 0/0 at the least.
    pub fn back(self, bytes: u64) -> Self {
        Self(self.0.saturating_sub(bytes))
    }
}

impl Add<u64> for Lsn {
    type Output = Self;

    /// The position `bytes` after this one.
    fn add(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

impl AddAssign<u64> for Lsn {
    fn add_assign(&mut self, bytes: u64) {
        *self = *self + bytes;
    }
}

impl FromStr for Lsn {
    type Err = ();

    /// Reads `16/B374D848`: two hexadecimal halves of up to 32 bits.
    fn from_str(text: &str) -> Result<Self, ()> {
        let half = |digits: &str| {
            let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
            valid.then(|| u32::from_str_radix(digits, 16).ok()).flatten().ok_or(())
        };
        let (high, low) = text.split_once('/').ok_or(())?;
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_forward_only() {
        assert_eq!(Lsn(10).bytes_until(Lsn(15)), 5);
        assert_eq!(Lsn(15).bytes_until(Lsn(10)), 0);
        assert_eq!((Lsn(10) + 5, Lsn(15).back(5), Lsn(4).back(5)), (Lsn(15), Lsn(10), Lsn::ZERO));
    }

    #[test]
    fn an_lsn_survives_being_written_and_read() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        for bad in ["", "/", "1", "1/", "g/0", "+1/0", "100000000/0"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }
}
