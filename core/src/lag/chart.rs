//! A chart of lag in text, for psql and `\\watch`. Its size and layout stay the same from one call
//! to the next.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::history::Sample;
use super::state::State;
use super::units::duration;
use super::{Micros, SECOND};

/// Lines of bars.
const HEIGHT: usize = 8;

const HALF: usize = HEIGHT / 2;

/// Columns left of the bars, with the axis.
const MARGIN: usize = 9;

/// Columns of bars. Fewer are not readable, more do not fit a terminal.
const COLUMNS: RangeInclusive<usize> = 20..=400;

/// Changes of state that are explained below the chart.
const EXPLAINED: usize = 5;

/// Part of a cell, from none to full, in eighths.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Upper ends of the scale, in seconds. Each is a round number whose half is round too.
const SCALES: [u64; 18] = [
    1, 2, 4, 10, 20, 40, 60, 120, 240, 600, 1200, 2400, 3600, 7200, 14_400, 28_800, 43_200, 86_400,
];

/// Draws the samples from `from` to `now` in lines of `width` characters. A bar shows the worst
/// value of its time; a bar drawn with `▒` is a lower bound; a missing bar means that nothing is
/// known. Without samples the chart is one line.
pub fn chart(samples: &[Sample], from: Micros, now: Micros, width: usize) -> String {
    let columns = width.saturating_sub(MARGIN).clamp(*COLUMNS.start(), *COLUMNS.end());
    let window = Window { from, span: now.saturating_sub(from).max(SECOND), columns };
    if samples.is_empty() {
        return window.title(None);
    }
    let bars = window.bars(samples);
    let top = scale(bars.iter().flatten().map(|bar| bar.lag).max().unwrap_or(0));
    let changes = window.changes(samples);
    let parts = [
        window.title(samples.last()),
        rows(&bars, top),
        window.axis(),
        window.marks(&changes),
        legend(&changes, now),
    ];
    parts.concat()
}

/// The same chart in ASCII, for a client that cannot show these characters. The bars are coarser.
pub fn ascii(chart: &str) -> String {
    let plain = |letter| match letter {
        '▁' | '▂' => '.',
        '▃' | '▄' | '▅' => ':',
        '▆' | '▇' | '█' => '#',
        '▒' => '%',
        '│' => '|',
        '┤' | '└' | '┴' => '+',
        '─' => '-',
        '·' => '.',
        other => other,
    };
    chart.replace('→', "->").chars().map(plain).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bar {
    lag: Micros,
    is_lower_bound: bool,
}

impl Bar {
    fn worse(self, other: Self) -> Self {
        Self {
            lag: self.lag.max(other.lag),
            is_lower_bound: self.is_lower_bound || other.is_lower_bound,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    at: Micros,
    before: State,
    after: State,
    mark: char,
}

struct Window {
    from: Micros,
    span: Micros,
    columns: usize,
}

impl Window {
    fn title(&self, last: Option<&Sample>) -> String {
        let period = duration(self.span);
        let bar = duration(self.span / self.columns as Micros);
        let now = match last.map(|sample| (sample, sample.lag())) {
            None => "nothing sampled".to_owned(),
            Some((sample, None)) => format!("now not known, {}", sample.state),
            Some((sample, Some(lag))) => {
                let bound = if sample.lag_is_lower_bound { "at least " } else { "" };
                format!("now {bound}{}, {}", duration(lag), sample.state)
            }
        };
        format!("Lag over {period}, the worst of every {bar}; {now}\n")
    }

    fn column(&self, at: Micros) -> usize {
        let offset = u128::from(at.saturating_sub(self.from)) * self.columns as u128;
        ((offset / u128::from(self.span)) as usize).min(self.columns - 1)
    }

    /// For each column the worst value of the samples that cover it.
    fn bars(&self, samples: &[Sample]) -> Vec<Option<Bar>> {
        let mut bars = vec![None; self.columns];
        for sample in samples.iter().filter(|sample| sample.at > self.from) {
            let Some(lag) = sample.lag() else { continue };
            let bar = Bar { lag, is_lower_bound: sample.lag_is_lower_bound };
            // A sample that ends where a column begins does not cover that column.
            for worst in &mut bars[self.column(sample.from)..=self.column(sample.at - 1)] {
                *worst = Some(worst.map_or(bar, |worst: Bar| worst.worse(bar)));
            }
        }
        bars
    }

    /// The last changes get letters, earlier ones a dot.
    fn changes(&self, samples: &[Sample]) -> Vec<Change> {
        let pairs = samples.windows(2).filter(|pair| pair[0].state != pair[1].state);
        let inside = pairs.filter(|pair| pair[1].at >= self.from);
        let mut changes: Vec<_> = inside
            .map(|pair| Change {
                at: pair[1].at,
                before: pair[0].state,
                after: pair[1].state,
                mark: '·',
            })
            .collect();
        let unexplained = changes.len().saturating_sub(EXPLAINED);
        changes[unexplained..].iter_mut().zip('a'..).for_each(|(change, mark)| change.mark = mark);
        changes
    }

    /// The line under the bars and, below it, the times of its start, middle and end.
    fn axis(&self) -> String {
        let middle = self.columns / 2;
        let mut line = vec!['─'; self.columns];
        line[middle] = '┴';
        let mut times = vec![' '; self.columns];
        write_at(&mut times, 0, &format!("-{}", duration(self.span)));
        write_at(&mut times, middle, &format!("-{}", duration(self.span / 2)));
        write_at(&mut times, self.columns - 3, "now");
        labelled("0 s └", line) + &labelled("", times)
    }

    fn marks(&self, changes: &[Change]) -> String {
        if changes.is_empty() {
            return String::new();
        }
        let mut line = vec![' '; self.columns];
        changes
            .iter()
            .for_each(|change| line[self.column(change.at.saturating_sub(1))] = change.mark);
        labelled("state  ", line)
    }
}

/// A line of the chart with its label, which is aligned to the right of the margin.
fn labelled(label: &str, cells: Vec<char>) -> String {
    let cells: String = cells.into_iter().collect();
    format!("{label:>MARGIN$}{}", cells.trim_end()) + "\n"
}

/// Text that does not fit is cut off.
fn write_at(cells: &mut [char], column: usize, text: &str) {
    cells[column..].iter_mut().zip(text.chars()).for_each(|(cell, letter)| *cell = letter);
}

/// The lines of bars from top to bottom. The top and the middle of the scale have labels.
fn rows(bars: &[Option<Bar>], top: Micros) -> String {
    let row = |row: usize| {
        let label = match row + 1 {
            HEIGHT => format!("{} ┤", duration(top)),
            HALF => format!("{} ┤", duration(top / 2)),
            _ => "│".to_owned(),
        };
        labelled(&label, bars.iter().map(|bar| cell(*bar, row, top)).collect())
    };
    (0..HEIGHT).rev().map(row).collect()
}

/// A bar's part in one line. A lag of 0 still fills an eighth of the lowest cell, because an empty
/// column means that nothing is known.
fn cell(bar: Option<Bar>, row: usize, top: Micros) -> char {
    let Some(bar) = bar else { return ' ' };
    let eighths = HEIGHT as u128 * 8 * u128::from(bar.lag) / u128::from(top);
    let filled = (eighths as usize).max(1).saturating_sub(row * 8).min(8);
    if bar.is_lower_bound && filled > 0 { '▒' } else { BLOCKS[filled] }
}

fn legend(changes: &[Change], now: Micros) -> String {
    let mut text = String::new();
    for Change { at, before, after, mark } in &changes[changes.len().saturating_sub(EXPLAINED)..] {
        let ago = duration(now.saturating_sub(*at));
        let _ = writeln!(text, "{mark:>MARGIN$}  {ago} ago: {before} → {after}");
    }
    text
}

/// The smallest round time that is not below `lag`, so that the scale changes rarely.
fn scale(lag: Micros) -> Micros {
    const TWO_DAYS: Micros = 2 * 86_400 * SECOND;
    let round = SCALES.into_iter().map(|seconds| seconds * SECOND).find(|scale| *scale >= lag);
    round.unwrap_or_else(|| lag.div_ceil(TWO_DAYS) * TWO_DAYS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lag::estimate::Lag;

    /// A sample of one second, which ends at `second`; lag is in seconds.
    fn sample(second: u64, state: State, lag: u64) -> Sample {
        let lag = Lag { time: lag * SECOND, is_lower_bound: state == State::Copying };
        Sample::new((second - 1) * SECOND, second * SECOND, state, Some(lag), None, None)
    }

    fn draw(samples: &[Sample]) -> Vec<String> {
        chart(samples, 0, 30 * SECOND, MARGIN + 30).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_copy_a_stall_and_a_gap_are_drawn() {
        let samples: Vec<_> = (1..=30)
            .filter(|second| !(20..24).contains(second))
            .map(|second| match second {
                1..=5 => sample(second, State::Copying, 2),
                6..=9 => sample(second, State::Streaming, 0),
                10..=16 => sample(second, State::Stalled, second - 9),
                _ => sample(second, State::Streaming, 1),
            })
            .collect();
        let expected = [
            "Lag over 30 s, the worst of every 1 s; now 1 s, streaming",
            "   10 s ┤",
            "        │",
            "        │               ▄",
            "        │              ▆█",
            "    5 s ┤            ▁███",
            "        │           ▃████",
            "        │▒▒▒▒▒     ▄█████",
            "        │▒▒▒▒▒▁▁▁▁▆██████▆▆▆    ▆▆▆▆▆▆▆",
            "    0 s └───────────────┴──────────────",
            "         -30 s          -15 s       now",
            "  state       a   b      c",
            "        a  24 s ago: copying → streaming",
            "        b  20 s ago: streaming → stalled",
            "        c  13 s ago: stalled → streaming",
        ];
        let drawn = draw(&samples);
        assert_eq!(drawn, expected, "\n{}", drawn.join("\n"));
        let plain = ascii(&drawn.join("\n"));
        assert!(plain.is_ascii(), "{plain}");
        assert_eq!(plain.lines().nth(8), Some("        |%%%%%....##########    #######"));
    }

    #[test]
    fn without_samples_the_chart_is_one_line() {
        let drawn = draw(&[]);
        assert!(drawn[0].ends_with("nothing sampled"));
        assert_eq!(drawn.len(), 1);
    }

    #[test]
    fn lag_that_is_not_known_is_a_gap_with_a_state() {
        let unknown = Sample::new(0, 30 * SECOND, State::Unreachable, None, None, None);
        let drawn = draw(&[unknown]);
        assert!(drawn[0].ends_with("now not known, unreachable"));
        assert!(drawn[8].ends_with('│'));
    }

    #[test]
    fn only_the_last_changes_are_explained() {
        let state = |second| if second % 2 == 0 { State::Stalled } else { State::Streaming };
        let samples: Vec<_> = (1..=30).map(|second| sample(second, state(second), 0)).collect();
        let drawn = draw(&samples);
        assert_eq!(drawn[11], format!("  state   {}abcde", "·".repeat(24)));
        assert_eq!(drawn.len(), 12 + EXPLAINED);
    }

    #[test]
    fn the_scale_is_a_round_time_not_below_the_worst_lag() {
        for (lag, top) in [(0, 1), (1, 1), (3, 4), (11, 20), (61, 120), (90_000, 172_800)] {
            assert_eq!(scale(lag * SECOND), top * SECOND);
        }
    }

    proptest! {
        #![proptest_config(crate::lag::property(256))]

        #[test]
        fn the_bars_fit_for_any_samples(
            spans in prop::collection::vec((0..20u64, 1..50u64, 0..u64::MAX), 0..200),
            from in 0..5000u64,
            span in 0..5000u64,
            width in 0..500usize,
        ) {
            let mut at = 0;
            let samples: Vec<_> = spans
                .into_iter()
                .map(|(gap, length, lag)| {
                    at += gap + length;
                    let lag = Some(Lag { time: lag, is_lower_bound: false });
                    Sample::new(at - length, at, State::Streaming, lag, None, None)
                })
                .collect();
            let text = chart(&samples, from, from + span, width);
            let widest = text.lines().skip(1).map(|line| line.chars().count()).max().unwrap_or(0);
            prop_assert!(widest <= width.clamp(29, 409), "{widest} {width}\n{text}");
        }
    }
}
