//! Logs in to a publisher, in a thread: libpq resolves names, computes SCRAM and tries lists of
//! addresses without a way to interrupt it. The caller waits for the thread in its own way, and may
//! abandon it.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use pgmig_core::conninfo::Conninfo;
use pgrx::pg_sys::Oid;

use super::channel::Channel;
use crate::conninfo::address;
use crate::ffi::descriptor::Descriptors;
use crate::ffi::libpq::{self, Connection, Loaded, Progress};
use crate::ffi::meter::{self, Meter};
use crate::ffi::task::{self, Abandoned, Task};
use crate::ffi::wait::{self, For};

/// The most bytes that a server may send during the login: its certificates and its parameters. For
/// each parameter libpq searches all earlier ones.
const MAX_RECEIVED: usize = 64 << 10;
/// File descriptors that a login needs: one for the connection, three for the meter, two for the
/// thread.
const DESCRIPTORS: usize = 6;

/// A login that is in progress.
pub struct Login {
    task: Task<Result<Connection, String>>,
    descriptors: Descriptors,
    until: Instant,
}

/// Why no login can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// An abandoned login for the same role has not ended.
    Busy,
    NoDescriptor,
    NoThread,
}

impl Obstacle {
    pub fn text(self) -> &'static str {
        match self {
            Self::Busy => "an earlier attempt to connect has not ended",
            Self::NoDescriptor => "no file descriptor is free for a connection",
            Self::NoThread => "no thread could be started for a connection",
        }
    }
}

impl Login {
    /// `party`: the role that the login is for. While its abandoned threads have not ended, it cannot
    /// start another login.
    pub fn start(conninfo: Conninfo, party: Oid, time: Duration) -> Result<Self, Obstacle> {
        let loaded = libpq::load();
        if task::left_behind(party.to_u32()) > 0 {
            return Err(Obstacle::Busy);
        }
        let descriptors = Descriptors::reserve(DESCRIPTORS).ok_or(Obstacle::NoDescriptor)?;
        let until = Instant::now() + time;
        let work = move |abandoned: &Abandoned| log_in(loaded, conninfo, until, abandoned);
        let task = Task::start(party.to_u32(), work).ok_or(Obstacle::NoThread)?;
        Ok(Self { task, descriptors, until })
    }

    /// The socket is readable when the login has ended.
    pub fn socket(&self) -> RawFd {
        self.task.socket()
    }

    /// The login's deadline.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// The result. `None` while the login is in progress. The cause of a failure is for the server's
    /// log only.
    pub fn take(&self) -> Option<Result<Connection, String>> {
        self.task.take()
    }

    pub fn channel(mut self, connection: Connection) -> Channel {
        self.descriptors.keep(1);
        Channel::new(connection, self.descriptors)
    }
}

fn log_in(
    loaded: Loaded,
    conninfo: Conninfo,
    until: Instant,
    abandoned: &Abandoned,
) -> Result<Connection, String> {
    let conninfo = address::resolved(conninfo)?;
    let connection = Connection::start(loaded, conninfo.iter()).ok_or("out of memory")?;
    if connection.has_failed() {
        return Err(connection.error_message());
    }
    Attempt { connection, meter: None, until, abandoned }.run()
}

struct Attempt<'a> {
    connection: Connection,
    /// Present while libpq has a connected socket.
    meter: Option<Meter>,
    until: Instant,
    abandoned: &'a Abandoned,
}

impl Attempt<'_> {
    fn run(mut self) -> Result<Connection, String> {
        // libpq documents that the first step is to be treated as after "writable".
        let mut progress = Progress::Writable;
        loop {
            self.wait(progress)?;
            progress = self.connection.poll();
            match progress {
                Progress::Connected => return self.finish(),
                Progress::Failed => return Err(self.connection.error_message()),
                Progress::Readable | Progress::Writable => {}
            }
            let socket = self.connection.socket();
            self.meter = self.meter.filter(|meter| meter.is_at(socket));
        }
    }

    /// Waits until libpq can make its next step.
    fn wait(&mut self, progress: Progress) -> Result<(), String> {
        if self.meter.is_none() {
            let socket = self.connection.socket();
            self.sleep(socket, For::ReadOrWrite)?;
            if meter::is_connected(socket) {
                let placed = Meter::place(socket).ok_or("no file descriptor is left")?;
                self.meter = Some(placed);
            }
            return Ok(()); // or the attempt failed, as libpq will find
        }
        while !self.pump()? && progress == Progress::Readable {
            self.sleep_for_meter()?;
        }
        Ok(())
    }

    /// Moves data through the meter. True if libpq has something to read.
    fn pump(&mut self) -> Result<bool, String> {
        let Some(meter) = &mut self.meter else { return Ok(false) };
        let has_news = meter.pump();
        if meter.received() > MAX_RECEIVED {
            return Err(format!(
                "it sent more than {MAX_RECEIVED} bytes before the login was done"
            ));
        }
        Ok(has_news)
    }

    /// Sends the rest of libpq's data, and gives libpq its socket back.
    fn finish(mut self) -> Result<Connection, String> {
        while self.meter.as_ref().is_some_and(Meter::has_output) {
            self.sleep_for_meter()?;
            self.pump()?;
        }
        let socket = self.connection.socket();
        if let Some(meter) = self.meter.take()
            && !(meter.is_drained(socket) && meter.remove(socket))
        {
            return Err("it went on talking after the login".to_owned());
        }
        if !self.connection.take_over() {
            return Err("this server's libpq does TLS with another library than OpenSSL".to_owned());
        }
        Ok(self.connection)
    }

    fn sleep_for_meter(&self) -> Result<(), String> {
        let Some(meter) = &self.meter else { return Ok(()) };
        let (socket, what) = meter.waits_for();
        self.sleep(socket, what)
    }

    fn sleep(&self, socket: RawFd, what: For) -> Result<(), String> {
        let stop = self.abandoned.socket();
        if !wait::in_thread(&[(socket, what), (stop, For::Read)], self.until) {
            return Err("no answer in time".to_owned());
        }
        if wait::is_closed(stop) { Err("nobody waits for it".to_owned()) } else { Ok(()) }
    }
}
