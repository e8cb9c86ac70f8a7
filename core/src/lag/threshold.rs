//! Warnings. Each crossing of a limit is reported once.

use super::{Micros, Settings};

/// What a warning is about. The value and the limit of a [`Crossing`] are in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// `lag_warning_bytes` on pending_bytes.
    LagBytes,
    /// `lag_warning_time` on lag, in [`Micros`].
    LagTime,
    /// `retained_warning_bytes` on retained_bytes.
    RetainedBytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing {
    pub measure: Measure,
    /// True: the value rose above the limit. False: it fell well below it again.
    pub over: bool,
    pub value: u64,
    pub limit: u64,
}

/// The three warnings of a subscription.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Alarms {
    lag_bytes: Alarm,
    lag_time: Alarm,
    retained_bytes: Alarm,
}

impl Alarms {
    pub const fn new() -> Self {
        Self { lag_bytes: Alarm::OFF, lag_time: Alarm::OFF, retained_bytes: Alarm::OFF }
    }

    /// A value of `None` is not known now and changes nothing.
    pub fn observe(
        &mut self,
        pending: Option<u64>,
        lag: Option<Micros>,
        retained: Option<u64>,
        settings: &Settings,
    ) -> [Option<Crossing>; 3] {
        [
            (Measure::LagBytes, self.lag_bytes.crosses(pending, settings.lag_warning_bytes)),
            (Measure::LagTime, self.lag_time.crosses(lag, settings.lag_warning_time)),
            (
                Measure::RetainedBytes,
                self.retained_bytes.crosses(retained, settings.retained_warning_bytes),
            ),
        ]
        .map(|(measure, crossed)| {
            crossed.map(|(over, value, limit)| Crossing { measure, over, value, limit })
        })
    }
}

/// Set while the value is above the limit, until it falls below 80 % of the limit.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Alarm {
    over: bool,
}

impl Alarm {
    const OFF: Self = Self { over: false };

    fn crosses(&mut self, value: Option<u64>, limit: Option<u64>) -> Option<(bool, u64, u64)> {
        let Some(limit) = limit else {
            *self = Self::OFF;
            return None;
        };
        let value = value?;
        let over = if self.over { value >= limit - limit / 5 } else { value > limit };
        let crossed = over != self.over;
        self.over = over;
        crossed.then_some((over, value, limit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn crossings(values: &[u64], limit: u64) -> Vec<(usize, bool)> {
        let mut alarm = Alarm::OFF;
        let crossed = |(index, &value)| Some((index, alarm.crosses(Some(value), Some(limit))?.0));
        values.iter().enumerate().filter_map(crossed).collect()
    }

    #[test]
    fn a_crossing_is_reported_once_and_its_end_once() {
        let values = [0, 100, 101, 500, 101, 99, 80, 101, 79, 80, 100, 101];
        assert_eq!(crossings(&values, 100), [(2, true), (8, false), (11, true)]);
    }

    #[test]
    fn a_limit_of_zero_warns_of_any_value() {
        assert_eq!(crossings(&[0, 1, 0, 1], 0), [(1, true)]);
    }

    #[test]
    fn an_unknown_value_changes_nothing_and_no_limit_resets_the_alarm() {
        let mut alarm = Alarm::OFF;
        assert_eq!(alarm.crosses(Some(11), Some(10)), Some((true, 11, 10)));
        assert_eq!(alarm.crosses(None, Some(10)), None);
        assert_eq!(alarm.crosses(Some(12), Some(10)), None);
        assert_eq!(alarm.crosses(Some(12), None), None);
        assert_eq!(alarm.crosses(Some(12), Some(10)), Some((true, 12, 10)));
    }

    #[test]
    fn each_measure_has_its_own_limit() {
        let settings = Settings {
            lag_warning_bytes: Some(10),
            lag_warning_time: Some(20),
            retained_warning_bytes: Some(30),
            ..Settings::default()
        };
        let mut alarms = Alarms::new();
        let mut crossed = |pending, lag, retained| {
            let crossed = alarms.observe(Some(pending), Some(lag), Some(retained), &settings);
            crossed.map(|crossing| crossing.map(|c| (c.measure, c.over, c.value, c.limit)))
        };
        assert_eq!(crossed(10, 20, 30), [None, None, None]);
        let [bytes, time, retained] = crossed(11, 21, 31);
        assert_eq!(bytes, Some((Measure::LagBytes, true, 11, 10)));
        assert_eq!(time, Some((Measure::LagTime, true, 21, 20)));
        assert_eq!(retained, Some((Measure::RetainedBytes, true, 31, 30)));
    }

    proptest! {
        #![proptest_config(crate::lag::property(256))]

        #[test]
        fn crossings_alternate(values in prop::collection::vec(0..200u64, 0..200), limit in 0..150u64) {
            let told: Vec<_> = crossings(&values, limit).into_iter().map(|(_, over)| over).collect();
            let alternating: Vec<_> = (0..told.len()).map(|index| index % 2 == 0).collect();
            prop_assert_eq!(told, alternating);
        }
    }
}
