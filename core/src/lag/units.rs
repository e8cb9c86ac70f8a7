//! Formats times and sizes for people.

use super::{Micros, SECOND};

/// Formats a time: `350 ms`, `4.2 s`, `35 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. About two
/// significant figures, rounded down.
pub fn duration(span: Micros) -> String {
    let seconds = span / SECOND;
    let tenths = span % SECOND / (SECOND / 10);
    match seconds {
        0 if span == 0 => "0 s".to_owned(),
        0 => format!("{} ms", span / 1000),
        1..10 if tenths > 0 => format!("{seconds}.{tenths} s"),
        1..60 => format!("{seconds} s"),
        60..3600 => two(seconds, 60, "min", "s"),
        3600..86_400 => two(seconds / 60, 60, "h", "min"),
        _ => two(seconds / 3600, 24, "d", "h"),
    }
}

/// A value in two units; a part that is zero is left out.
fn two(value: u64, base: u64, large: &str, small: &str) -> String {
    match (value / base, value % base) {
        (whole, 0) => format!("{whole} {large}"),
        (whole, rest) => format!("{whole} {large} {rest} {small}"),
    }
}

/// Formats a size: `512 bytes`, `10 kB`, `3.5 GB`, in powers of 1024 like pg_size_pretty().
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if size < 1024 {
        return format!("{size} bytes");
    }
    let power = size.ilog2() as usize / 10;
    let unit = UNITS[power - 1];
    // In tenths, rounded down. The shift prevents an overflow at 2^60.
    let tenths = (size >> (10 * (power - 1))) * 10 / 1024;
    match (tenths / 10, tenths % 10) {
        (whole, rest) if whole < 10 && rest > 0 => format!("{whole}.{rest} {unit}"),
        (whole, _) => format!("{whole} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_about_two_figures() {
        let cases = [
            (0, "0 s"),
            (350_999, "350 ms"),
            (4 * SECOND + 270_000, "4.2 s"),
            (4 * SECOND + 70_000, "4 s"),
            (59 * SECOND + 999_999, "59 s"),
            (60 * SECOND, "1 min"),
            (200 * SECOND, "3 min 20 s"),
            (7200 * SECOND, "2 h"),
            (7500 * SECOND, "2 h 5 min"),
            (76 * 3600 * SECOND, "3 d 4 h"),
        ];
        for (span, text) in cases {
            assert_eq!(duration(span), text);
        }
    }

    #[test]
    fn sizes_are_in_powers_of_1024() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 kB"),
            (1536, "1.5 kB"),
            (10 * 1024 + 900, "10 kB"),
            (3 << 30, "3 GB"),
            (u64::MAX, "15 EB"),
        ];
        for (size, text) in cases {
            assert_eq!(bytes(size), text);
        }
    }
}
