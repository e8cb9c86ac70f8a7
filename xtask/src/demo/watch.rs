//! Watching a migration from outside: how far the copy is, how much WAL is pending, and waiting
//! for both with a deadline.

use super::screen::Screen;
use super::server::Server;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(300);
const INTERVAL: Duration = Duration::from_millis(100);

/// Tries until there is an answer.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt()? {
            Some(answer) => return Ok(answer),
            None if start.elapsed() > DEADLINE => bail!("waited {DEADLINE:?} in vain for {what}"),
            None => thread::sleep(INTERVAL),
        }
    }
}

/// Shows the copy of all tables until each of them is ready.
pub fn copy(screen: &Screen, source: &Server, target: &Server) -> Result<()> {
    let estimates = estimated_rows(source)?;
    let start = Instant::now();
    let mut progress = screen.progress();
    let mut line = String::new();
    loop {
        // The deadline is for one change: a large table may take its time.
        let tables = until("the copy to go on", || {
            let tables = tables(target, &estimates)?;
            Ok((line_of(&tables) != line).then_some(tables))
        })?;
        if tables.iter().all(|table| table.state == 'r') {
            let took = start.elapsed().as_secs_f64();
            progress.finish(&format!("all {} tables ready after {took:.1} s", tables.len()));
            return Ok(());
        }
        line = line_of(&tables);
        progress.show(&line);
    }
}

/// What the publisher's planner believes; -1 where it never looked.
fn estimated_rows(source: &Server) -> Result<BTreeMap<String, i64>> {
    const SQL: &str = "SELECT relname, reltuples::bigint FROM pg_class WHERE relkind = 'r'";
    let rows = source.ordinary().ask(SQL)?;
    rows.lines()
        .map(|row| {
            let (name, estimate) = row.split_once('|').context("two columns were asked for")?;
            Ok((name.to_owned(), estimate.parse()?))
        })
        .collect()
}

fn tables(target: &Server, estimates: &BTreeMap<String, i64>) -> Result<Vec<Table>> {
    const SQL: &str = "
        SELECT c.relname, r.srsubstate, coalesce(p.tuples_processed, 0)
          FROM pg_subscription_rel r
          JOIN pg_class c ON c.oid = r.srrelid
          LEFT JOIN pg_stat_progress_copy p ON p.relid = r.srrelid
         ORDER BY c.relname";
    target.ordinary().ask(SQL)?.lines().map(|row| Table::read(row, estimates)).collect()
}

/// A table of the subscription.
struct Table {
    name: String,
    /// As in pg_subscription_rel.srsubstate.
    state: char,
    /// Copied so far, while it is being copied.
    rows: i64,
    estimate: i64,
}

impl Table {
    fn read(row: &str, estimates: &BTreeMap<String, i64>) -> Result<Table> {
        let mut fields = row.split('|');
        let mut field = || fields.next().context("three columns were asked for");
        let (name, state, rows) = (field()?.to_owned(), field()?.parse()?, field()?.parse()?);
        let estimate = estimates.get(&name).copied().unwrap_or(-1);
        Ok(Table { name, state, rows, estimate })
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name)?;
        match self.state {
            'i' => f.write_str("waiting"),
            'd' if self.estimate > 0 => {
                write!(f, "{} of about {} rows", grouped(self.rows), grouped(self.estimate))
            }
            'd' => write!(f, "{} rows", grouped(self.rows)),
            'f' | 's' => f.write_str("copied, catching up"),
            'r' => f.write_str("ready"),
            other => write!(f, "in state {other}"),
        }
    }
}

fn line_of(tables: &[Table]) -> String {
    let ready = tables.iter().filter(|table| table.state == 'r').count();
    let others: Vec<String> =
        tables.iter().filter(|table| table.state != 'r').map(Table::to_string).collect();
    format!("{ready} of {} tables ready; {}", tables.len(), others.join(", "))
}

/// Waits until the subscriber that uses `slot` has confirmed this LSN of the source.
pub fn barrier(source: &Server, slot: &str, lsn: &str) -> Result<()> {
    let sql = format!(
        "SELECT confirmed_flush_lsn >= '{lsn}' FROM pg_replication_slots
          WHERE slot_name = '{slot}'"
    );
    until("the target to catch up", || Ok((source.ordinary().ask(&sql)? == "t").then_some(())))
}

/// 1234567 as 1,234,567.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| str::from_utf8(group).unwrap_or(""))
        .collect();
    format!("{}{}", if number < 0 { "-" } else { "" }, groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(-999), "-999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn a_progress_line_counts_ready_tables_and_names_the_others() {
        let estimates = BTreeMap::from([("big".to_owned(), 2_000), ("new".to_owned(), -1)]);
        let rows = ["big|d|1500", "new|d|7", "small|r|0", "tiny|i|0"];
        let tables: Vec<Table> =
            rows.iter().map(|row| Table::read(row, &estimates).unwrap()).collect();
        assert_eq!(
            line_of(&tables),
            "1 of 4 tables ready; big 1,500 of about 2,000 rows, new 7 rows, tiny waiting"
        );
    }
}
