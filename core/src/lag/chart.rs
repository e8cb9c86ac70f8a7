//! A chart of lag in text, for psql and `\watch`: its size and layout stay the same from one look to
//! the next.

use std::fmt::Write;

use super::history::Sample;
use super::state::State;
use super::units::duration;
use super::{Micros, SECOND};

/// Lines of bars.
const HEIGHT: usize = 8;

/// Columns left of the bars, with the axis.
const MARGIN: usize = 9;

/// Fewer columns for bars than this say nothing; more than that no terminal shows.
const COLUMNS: std::ops::RangeInclusive<usize> = 20..=400;

/// Changes of state that are explained below the chart.
const EXPLAINED: usize = 5;

/// Part of a cell, from none to full, in eighths.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws what was sampled from `from` to `now` in lines of `width` characters: a bar is the worst
/// of its time, one drawn with `▒` a lower bound; nothing at all means that nothing is known.
pub fn chart(samples: &[Sample], from: Micros, now: Micros, width: usize) -> String {
    let columns = width.saturating_sub(MARGIN).clamp(*COLUMNS.start(), *COLUMNS.end());
    let window = Window { from, span: now.saturating_sub(from).max(columns as Micros), columns };
    let bars = window.bars(samples);
    let top = scale(bars.iter().flatten().map(|bar| bar.lag).max().unwrap_or(0));
    let changes = window.changes(samples);
    [
        title(samples, &window),
        rows(&bars, top),
        window.axis(),
        window.marks(&changes),
        legend(&changes, now),
    ]
    .concat()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bar {
    lag: Micros,
    is_lower_bound: bool,
}

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
    fn column(&self, at: Micros) -> usize {
        let offset = u128::from(at.saturating_sub(self.from)) * self.columns as u128;
        ((offset / u128::from(self.span)) as usize).min(self.columns - 1)
    }

    /// The worst of every column that some sample covers.
    fn bars(&self, samples: &[Sample]) -> Vec<Option<Bar>> {
        let mut bars = vec![None; self.columns];
        for sample in samples.iter().filter(|sample| sample.at >= self.from) {
            let Some(lag) = sample.lag() else { continue };
            let bar = Bar { lag, is_lower_bound: sample.lag_is_lower_bound };
            // What ends where a column begins does not reach into it.
            let last = self.column(sample.at.max(1) - 1);
            for worst in &mut bars[self.column(sample.from)..=last] {
                *worst = Some(worst.map_or(bar, |worst: Bar| Bar {
                    lag: worst.lag.max(bar.lag),
                    is_lower_bound: worst.is_lower_bound || bar.is_lower_bound,
                }));
            }
        }
        bars
    }

    /// The last ones have letters, earlier ones a dot.
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

    /// The line under the bars and the times under the line: the beginning, the middle, now.
    fn axis(&self) -> String {
        let middle = self.columns / 2;
        let line: String =
            (0..self.columns).map(|column| if column == middle { '┴' } else { '─' }).collect();
        let begin = format!("-{}", duration(self.span));
        let half = format!("-{}", duration(self.span / 2));
        let mut times = format!("{begin:width$}{half}", width = middle);
        let _ = write!(
            times,
            "{:>width$}",
            "now",
            width = (MARGIN + self.columns).saturating_sub(times.chars().count() + MARGIN)
        );
        format!("{:>MARGIN$}{line}\n{:MARGIN$}{times}\n", "└", "")
    }

    fn marks(&self, changes: &[Change]) -> String {
        let mut line = vec![' '; self.columns];
        changes.iter().for_each(|change| line[self.column(change.at)] = change.mark);
        let line: String = line.into_iter().collect();
        format!("{:>MARGIN$}{}\n", "state  ", line.trim_end())
    }
}

fn title(samples: &[Sample], window: &Window) -> String {
    let bar = duration(window.span / window.columns as Micros);
    let period = duration(window.span);
    let now = match samples.last() {
        None => "nothing sampled".to_owned(),
        Some(sample) => match sample.lag() {
            None => format!("not known, {}", sample.state),
            Some(lag) => {
                let bound = if sample.lag_is_lower_bound { "at least " } else { "" };
                format!("last {bound}{}, {}", duration(lag), sample.state)
            }
        },
    };
    format!("Lag over {period}, the worst of every {bar}: {now}\n")
}

/// The lines of bars from the top down, with the scale's top, middle and zero named.
fn rows(bars: &[Option<Bar>], top: Micros) -> String {
    let mut text = String::new();
    for row in (0..HEIGHT).rev() {
        let label = match row {
            _ if row + 1 == HEIGHT => duration(top),
            _ if row + 1 == HEIGHT / 2 => duration(top / 2),
            _ => String::new(),
        };
        let cells: String = bars.iter().map(|bar| cell(*bar, row, top)).collect();
        let tick = if label.is_empty() { '│' } else { '┤' };
        let width = MARGIN - 2;
        let _ = writeln!(text, "{label:>width$} {tick}{}", cells.trim_end());
    }
    text
}

/// A bar's part in one row. No lag is an eighth of the lowest cell, since a gap has nothing there.
fn cell(bar: Option<Bar>, row: usize, top: Micros) -> char {
    let Some(bar) = bar else { return ' ' };
    let eighths = HEIGHT as u128 * 8 * u128::from(bar.lag) / u128::from(top);
    let filled = (eighths as usize).max(1).saturating_sub(row * 8).min(8);
    if bar.is_lower_bound && filled > 0 { '▒' } else { BLOCKS[filled] }
}

fn legend(changes: &[Change], now: Micros) -> String {
    let explained = &changes[changes.len().saturating_sub(EXPLAINED)..];
    let mut text = String::new();
    for Change { at, before, after, mark } in explained {
        let ago = duration(now.saturating_sub(*at));
        let _ =
            writeln!(text, "{mark:>width$}  {ago:>11} ago  {before} → {after}", width = MARGIN - 1);
    }
    text
}

/// The least round time that is not below `lag`: the scale changes seldom, and its half is round.
fn scale(lag: Micros) -> Micros {
    const STEPS: [u64; 18] = [
        1, 2, 4, 10, 20, 40, 60, 120, 240, 600, 1200, 2400, 3600, 7200, 14_400, 28_800, 43_200,
        86_400,
    ];
    let steps = STEPS.into_iter().map(|seconds| seconds * SECOND);
    let days = lag.div_ceil(2 * 86_400 * SECOND) * 2 * 86_400 * SECOND;
    steps.into_iter().find(|step| *step >= lag).unwrap_or(days)
}
