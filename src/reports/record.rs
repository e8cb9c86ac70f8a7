//! One report in shared memory.

use pgmig_core::lag::Micros;
use pgmig_core::lsn::Lsn;
use pgmig_core::seqlock::SeqLock;

use crate::ffi::encoding::{self, Encoding};
use crate::ffi::wait::monotonic_micros as now;

/// Longer messages are cut, in bytes.
pub const LENGTH: usize = 400;

const TABLE: usize = 0;
const ENCODING: usize = 1;
const IS_CONNECTION: usize = 2;
const AT: usize = 3;
const FINISHED_AT: usize = 4;
const TEXT_LENGTH: usize = 5;
/// A worker may write late, when its place is another subscription's already.
const SUBSCRIPTION: usize = 6;
const TEXT: usize = 7;
const WORDS: usize = TEXT + LENGTH / 8;

#[repr(C)]
pub struct Record(SeqLock<WORDS>);

/// The subject of a report.
pub struct Header {
    pub subscription: u32,
    /// Which table was copied; zero for others.
    pub table: u32,
    pub is_connection: bool,
    pub finished_at: Option<Lsn>,
}

/// A report as it was found.
pub struct Found {
    pub table: u32,
    pub encoding: Encoding,
    pub is_connection: bool,
    pub finished_at: Option<Lsn>,
    pub text: Vec<u8>,
}

impl Record {
    /// Writes a report with the present time and the encoding of this process's database. False if
    /// another worker is writing to this record.
    pub fn write(&self, header: &Header, message: &[u8]) -> bool {
        let length = message.len().min(LENGTH);
        let mut words = [0; WORDS];
        words[SUBSCRIPTION] = header.subscription.into();
        words[TABLE] = header.table.into();
        words[ENCODING] = encoding::of_this_database().unsigned_abs().into();
        words[IS_CONNECTION] = header.is_connection.into();
        words[AT] = now();
        words[FINISHED_AT] = header.finished_at.map_or(0, |lsn| lsn.0);
        words[TEXT_LENGTH] = length as u64;
        for (word, bytes) in words[TEXT..].iter_mut().zip(message[..length].chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(padded);
        }
        self.0.write(&words)
    }

    pub fn clear(&self) {
        self.0.write(&[0; WORDS]);
    }

    pub fn is_used(&self) -> bool {
        self.0.word(TEXT_LENGTH) > 0
    }

    pub fn table(&self) -> u32 {
        self.0.word(TABLE) as u32
    }

    pub fn at(&self) -> Micros {
        self.0.word(AT)
    }

    /// The report, if it is of this subscription.
    pub fn read(&self, subscription: u32) -> Option<Found> {
        let words = self.0.read()?;
        let length = words[TEXT_LENGTH].min(LENGTH as u64) as usize;
        if length == 0 || words[SUBSCRIPTION] != u64::from(subscription) {
            return None;
        }
        let mut text: Vec<u8> = words[TEXT..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        text.truncate(length);
        Some(Found {
            table: words[TABLE] as u32,
            encoding: words[ENCODING] as Encoding,
            is_connection: words[IS_CONNECTION] != 0,
            finished_at: Some(Lsn(words[FINISHED_AT])).filter(|lsn| lsn.0 != 0),
            text,
        })
    }
}
