//! Writes the heartbeat, looks for it on the target, and reads what the watcher says: each on a
//! connection of its own, which is made again when a server was away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postgres::{Client, Config, Error, NoTls};

use super::score::{Beat, Record, Sample, Sight};

const BEAT: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(25);
pub const SAMPLE: Duration = Duration::from_millis(200);

const LAG: &str = "
    SELECT state, extract(epoch FROM lag)::float8, coalesce(lag_is_lower_bound, false), reason
    FROM pgmig_extras.subscription_lag WHERE subscription = $1";

pub struct Recorder {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    resting: AtomicBool,
    over: AtomicBool,
}

impl Recorder {
    pub fn start(source: Config, target: Config, subscription: &str) -> Recorder {
        let shared = Arc::new(Shared::default());
        let (writer, observer, sampler) = (shared.clone(), shared.clone(), shared.clone());
        let mut source = Line::new(source);
        let (mut there, mut watcher) = (Line::new(target.clone()), Line::new(target));
        let subscription = subscription.to_owned();
        let threads = vec![
            thread::spawn(move || writer.every(BEAT, |_| writer.beat(&mut source))),
            thread::spawn(move || observer.every(LOOK, |_| observer.look(&mut there))),
            thread::spawn(move || {
                sampler.every(SAMPLE, |planned| {
                    sampler.sample(&mut watcher, planned, &subscription);
                });
            }),
        ];
        Recorder { shared, threads }
    }

    /// Without heartbeats nothing is written.
    pub fn rest(&self, resting: bool) {
        self.shared.resting.store(resting, Ordering::Relaxed);
    }

    pub fn read<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&self.shared.record.lock().unwrap())
    }

    /// The source was down since then, until now.
    pub fn was_down(&self, since: Instant) {
        self.shared.record.lock().unwrap().down.push((since, Instant::now()));
    }

    /// Whether all that was written is there, and the watcher says so.
    pub fn is_settled(&self) -> bool {
        self.read(|record| {
            let seen =
                record.sights.last().is_some_and(|sight| sight.beat + 4 > record.beats.len());
            let streams = record.samples.last().is_some_and(|sample| sample.state == "streaming");
            seen && streams
        })
    }

    pub fn situation(&self) -> String {
        self.read(|record| {
            let Record { beats, sights, samples, .. } = record;
            let (seen, said) = (sights.last().map(|sight| sight.beat), samples.last());
            format!("{} heartbeats written, {seen:?} seen, {said:?}", beats.len())
        })
    }

    pub fn finish(&mut self) -> Record {
        self.end();
        std::mem::take(&mut *self.shared.record.lock().unwrap())
    }

    fn end(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "a recording thread failed");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn every(&self, period: Duration, mut work: impl FnMut(Instant)) {
        let mut planned = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            thread::sleep(planned.saturating_duration_since(Instant::now()));
            work(planned);
            planned = (planned + period).max(Instant::now());
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Record) -> T) -> T {
        work(&mut self.record.lock().unwrap())
    }

    fn beat(&self, source: &mut Line) {
        let last = self.with(|record| record.beats.last().copied());
        if last.is_some_and(|beat| beat.answered.is_none()) {
            return self.find_out(source);
        }
        if self.resting.load(Ordering::Relaxed) {
            return;
        }
        source.connect();
        let number = self.with(|record| {
            record.beats.push(Beat { sent: Instant::now(), answered: None });
            record.beats.len() as i64
        });
        let updated =
            source.ask(|client| client.execute("UPDATE heartbeat SET beat = $1", &[&number]));
        if updated.is_some() {
            self.answered();
        }
    }

    /// Whether an update whose answer was lost was made.
    fn find_out(&self, source: &mut Line) {
        let newest = source.ask(|client| client.query_one("SELECT beat FROM heartbeat", &[]));
        let Some(newest) = newest.map(|row| row.get::<_, i64>(0)) else { return };
        if newest == self.with(|record| record.beats.len() as i64) {
            self.answered();
        } else {
            self.with(|record| record.beats.pop());
        }
    }

    fn answered(&self) {
        let now = Instant::now();
        self.with(|record| {
            let beat = record.beats.last_mut().expect("there is one that was sent");
            beat.answered = Some(now);
        });
    }

    fn look(&self, target: &mut Line) {
        target.connect();
        let asked = Instant::now();
        let row = target.ask(|client| client.query_opt("SELECT beat FROM heartbeat", &[]));
        let answered = Instant::now();
        if let Some(row) = row {
            let beat = row.map_or(0, |row| row.get::<_, i64>(0)) as usize;
            self.with(|record| record.sights.push(Sight { asked, answered, beat }));
        }
    }

    fn sample(&self, target: &mut Line, planned: Instant, subscription: &str) {
        target.connect();
        let asked = Instant::now();
        let row = target.ask(|client| client.query_opt(LAG, &[&subscription]));
        let answered = Instant::now();
        let Some(Some(row)) = row else { return };
        let lag: Option<f64> = row.get(1);
        let sample = Sample {
            planned,
            asked,
            answered,
            state: row.get(0),
            lag: lag.map(Duration::from_secs_f64),
            is_lower_bound: row.get(2),
            reason: row.get(3),
        };
        self.with(|record| record.samples.push(sample));
    }
}

/// A connection that comes back.
struct Line {
    config: Config,
    client: Option<Client>,
}

impl Line {
    fn new(mut config: Config) -> Line {
        config.connect_timeout(Duration::from_secs(1));
        Line { config, client: None }
    }

    fn connect(&mut self) {
        if self.client.is_none() {
            self.client = self.config.connect(NoTls).ok();
        }
    }

    /// `None` when the server is away.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Client) -> Result<T, Error>) -> Option<T> {
        self.connect();
        match ask(self.client.as_mut()?) {
            Ok(answer) => Some(answer),
            Err(error) => {
                // 57P01 and its like say that the server goes down.
                let code = error.code().map(|code| code.code().to_owned());
                assert!(code.is_none_or(|code| code.starts_with("57P")), "{error:?}");
                self.client = None;
                None
            }
        }
    }
}
