//! A record in shared memory that is written and read without a lock and without an allocation: writers
//! may be where neither is possible. Boehm, "Can seqlocks get along with programming language memory
//! models?" (2012) has the order of the fences.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// `N` words that belong together. All zero is valid, and holds zeros.
#[repr(C)]
pub struct SeqLock<const N: usize> {
    /// Odd while somebody writes.
    version: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> SeqLock<N> {
    pub const fn new() -> Self {
        Self { version: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; N] }
    }

    /// False, and nothing is written, if another writer is at work.
    pub fn write(&self, words: &[u64; N]) -> bool {
        let version = self.version.load(Ordering::Relaxed);
        let odd = version.wrapping_add(1);
        let is_taken = version.is_multiple_of(2)
            && self
                .version
                .compare_exchange(version, odd, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !is_taken {
            return false;
        }
        // No word may be seen before the odd version is.
        fence(Ordering::Release);
        for (to, from) in self.words.iter().zip(words) {
            to.store(*from, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
        true
    }

    /// `None` if writers were at work at each of a hundred attempts.
    pub fn read(&self) -> Option<[u64; N]> {
        (0..100).find_map(|_| {
            let before = self.version.load(Ordering::Acquire);
            let words = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
            // No word may be read after the version is.
            fence(Ordering::Acquire);
            let after = self.version.load(Ordering::Relaxed);
            (before.is_multiple_of(2) && before == after).then_some(words)
        })
    }

    /// One word, which may be newer or older than the others.
    pub fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }
}

impl<const N: usize> Default for SeqLock<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const ROUNDS: u64 = 20_000;

    /// Words that are torn apart are not all equal.
    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = SeqLock::<57>::new();
        thread::scope(|scope| {
            for writer in 0..2 {
                let record = &record;
                scope.spawn(move || {
                    for round in 1..ROUNDS {
                        record.write(&[2 * round + writer; 57]);
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for words in (0..ROUNDS).filter_map(|_| record.read()) {
                        assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
                    }
                });
            }
        });
        assert!(record.read().is_some_and(|words| words[0] >= 2));
    }

    #[test]
    fn a_second_writer_is_turned_away() {
        let record = SeqLock::<1> { version: AtomicU64::new(3), words: [AtomicU64::new(7)] };
        assert!(!record.write(&[8]));
        assert_eq!((record.read(), record.word(0)), (None, 7));
    }
}
