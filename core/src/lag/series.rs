//! A time series in a fixed number of entries, whatever time it spans. The newest half is complete.
//! Older entries are thinned out: the older they are, the greater the distance between them.

use super::Micros;

pub trait Entry: Copy {
    const EMPTY: Self;

    fn at(&self) -> Micros;

    /// The information lost when this entry is removed, expressed as the span of time that becomes
    /// less precise.
    fn removal_cost(&self, before: &Self, after: &Self) -> Micros;

    /// Merges the preceding entry, which is being removed, into this one.
    fn merge(&mut self, dropped: &Self);
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Series<T, const N: usize> {
    len: usize,
    entries: [T; N],
}

impl<T: Entry, const N: usize> Series<T, N> {
    pub const fn new() -> Self {
        const { assert!(N >= 4) };
        Self { len: 0, entries: [T::EMPTY; N] }
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn as_slice(&self) -> &[T] {
        &self.entries[..self.len]
    }

    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.entries[..self.len].last_mut()
    }

    /// Adds an entry that is not older than the last one. `limit` lowers the capacity.
    pub fn push(&mut self, entry: T, limit: usize) {
        while self.len >= limit.clamp(4, N) {
            self.thin();
        }
        self.entries[self.len] = entry;
        self.len += 1;
    }

    /// Removes the entry of the older half whose removal costs least in relation to its age. The
    /// oldest entry stays, because it marks the start of the series.
    fn thin(&mut self) {
        let entries = self.as_slice();
        let newest = entries[self.len - 1].at();
        let cost = |index: usize| {
            let [before, this, after] = [index - 1, index, index + 1].map(|i| &entries[i]);
            let age = newest.saturating_sub(after.at()).max(1);
            this.removal_cost(before, after) as f64 / age as f64
        };
        let older = (1..=self.len / 2).map(|index| (index, cost(index)));
        let Some((index, _)) = older.min_by(|a, b| a.1.total_cmp(&b.1)) else { return };
        let dropped = self.entries[index];
        self.entries[index + 1].merge(&dropped);
        self.entries.copy_within(index + 1..self.len, index);
        self.len -= 1;
    }
}

impl<T: Entry, const N: usize> Default for Series<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Entry for Micros {
        const EMPTY: Self = 0;
        fn at(&self) -> Micros {
            *self
        }
        fn removal_cost(&self, before: &Self, after: &Self) -> Micros {
            after - before
        }
        fn merge(&mut self, _: &Self) {}
    }

    fn filled<const N: usize>(count: u64, limit: usize) -> Series<Micros, N> {
        let mut series = Series::new();
        (0..count).for_each(|at| series.push(at, limit));
        series
    }

    #[test]
    fn the_newest_half_is_kept_as_it_came_and_the_oldest_entry_too() {
        let series = filled::<64>(100_000, 64);
        let entries = series.as_slice();
        assert_eq!(entries.len(), 64);
        assert_eq!(entries[0], 0);
        let newest: Vec<_> = (100_000 - 31..100_000).collect();
        assert_eq!(entries[64 - 31..], newest);
    }

    #[test]
    fn the_older_half_is_known_to_a_few_percent_of_its_age() {
        let series = filled::<256>(40_000, 256);
        for pair in series.as_slice().windows(2) {
            let age = 40_000 - pair[1];
            assert!(pair[1] - pair[0] <= 1 + age / 10, "{pair:?}");
        }
    }

    #[test]
    fn a_lower_limit_shrinks_it() {
        let mut series = filled::<64>(1000, 64);
        series.push(1000, 16);
        assert_eq!(series.as_slice().len(), 16);
        series.push(1001, 0);
        assert_eq!(series.as_slice().len(), 4);
        assert_eq!(series.as_slice().last(), Some(&1001));
    }
}
