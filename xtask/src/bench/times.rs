//! Times that are compared.

use std::time::Duration;

/// Times of one side of a comparison.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn sorted_ms(&self) -> Vec<f64> {
        sorted(self.0.iter().map(|time| time.as_secs_f64() * 1e3))
    }

    pub fn median_ms(&self) -> f64 {
        median(self.sorted_ms())
    }

    pub fn row(&self, label: &str) -> String {
        let all = self.sorted_ms();
        let (min, max) = (all[0], all[all.len() - 1]);
        format!("{label:<34} {min:>9.2} {:>9.2} {max:>9.2}", self.median_ms())
    }
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let all = sorted(values);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { (all[middle - 1] + all[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two() {
        let times = |ms: &[u64]| Times(ms.iter().map(|ms| Duration::from_millis(*ms)).collect());
        assert_eq!(times(&[9, 1, 5]).median_ms(), 5.0);
        assert_eq!(times(&[9, 1, 5, 7]).median_ms(), 6.0);
    }
}
