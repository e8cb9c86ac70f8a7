//! `subscription_lag_chart`: the samples of one subscription as lines of text.

use pgmig_core::lag::chart;
use pgrx::datum::Interval;
use pgrx::prelude::*;

use super::history::{samples, span};
use crate::argument::{Text, required};
use crate::error::{Result, entry};
use crate::ffi::encoding;
use crate::ffi::wait::monotonic_micros;

#[pg_extern(sql = false)]
fn subscription_lag_chart(
    subscription: Text,
    since: Option<Interval>,
    width: Option<i32>,
) -> SetOfIterator<'static, Vec<u8>> {
    let chart = entry(|| draw(subscription, since, width));
    let lines: Vec<_> = chart.split('\n').map(|line| line.as_bytes().to_vec()).collect();
    SetOfIterator::new(lines)
}

fn draw(subscription: Text, since: Option<Interval>, width: Option<i32>) -> Result<String> {
    let span = span(since)?;
    let width = usize::try_from(required("width", width)?).unwrap_or(0);
    let samples = samples(subscription, span)?;
    let now = monotonic_micros();
    let chart = chart::chart(&samples, now.saturating_sub(span), now, width);
    Ok(if encoding::is_unicode() { chart } else { chart::ascii(&chart) })
}
