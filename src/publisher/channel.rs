//! An open connection to a publisher, and the one loop that reads its answers. The loop works in steps:
//! between two steps a session waits for its publisher, and the watcher for all of its publishers.

use std::os::fd::RawFd;
use std::time::Instant;

use pgmig_core::wire::{Fault, Outcome, Reader};

use crate::ffi::descriptor::Descriptors;
use crate::ffi::libpq::{Connection, Io};
use crate::ffi::wait::{self, For};

/// How many bytes one step reads: a whole TLS record, so that no data stays in OpenSSL, where no wait
/// sees it.
const PIECE: usize = 16 << 10;

/// Enough for a short answer that comes byte by byte.
const FEWEST_STEPS: usize = 4096;

pub struct Channel {
    connection: Connection,
    _descriptors: Descriptors,
}

/// A query that is being sent, and the part of its answer that has arrived.
pub struct Exchange {
    query: Vec<u8>,
    sent: usize,
    answer: Reader,
    /// How many steps are left. TLS has records without data, and a flood of them counts nowhere else.
    steps: usize,
}

/// The result of a step.
pub enum Step {
    /// Another step may be possible immediately.
    Again,
    Wait(For),
    Answered(Outcome),
}

/// The connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Lost,
    Answer(Fault),
}

impl Channel {
    pub(super) fn new(connection: Connection, descriptors: Descriptors) -> Self {
        Self { connection, _descriptors: descriptors }
    }

    pub fn socket(&self) -> RawFd {
        self.connection.socket()
    }

    pub fn used_password(&self) -> bool {
        self.connection.used_password()
    }

    /// The publisher's major, as it says.
    pub fn major(&self) -> u16 {
        self.connection.server_major()
    }

    /// Asks the publisher to cancel the running query. Raises nothing.
    pub(super) fn cancel(&self, deadline: Instant) {
        self.connection.cancel(deadline);
    }

    pub fn backend_pid(&self) -> i32 {
        self.connection.backend_pid()
    }

    /// The publisher's IP address; empty for a unix-domain socket.
    pub fn address(&self) -> String {
        self.connection.address()
    }

    /// False if the socket shows, without waiting, that the publisher closed the connection.
    pub fn is_open(&self) -> bool {
        !wait::is_closed(self.socket())
    }
}

impl Exchange {
    /// `query`: a message of `pgmig_core::wire`. `limit`: of the answer, in bytes.
    pub fn new(query: Vec<u8>, limit: usize) -> Self {
        Self { query, sent: 0, answer: Reader::new(limit), steps: FEWEST_STEPS + limit / 4 }
    }

    /// Sends the rest of the query, or reads one piece of the answer, without waiting.
    pub fn step(&mut self, channel: &mut Channel) -> Result<Step, Broken> {
        self.steps = self.steps.checked_sub(1).ok_or(Broken::Answer(Fault::TooMuch))?;
        let rest = &self.query[self.sent..];
        if !rest.is_empty() {
            return match channel.connection.write(rest) {
                Io::Moved(length) => {
                    self.sent += length;
                    Ok(Step::Again)
                }
                Io::UntilReadable => Ok(Step::Wait(For::Read)),
                Io::UntilWritable => Ok(Step::Wait(For::Write)),
                Io::Lost => Err(Broken::Lost),
            };
        }
        let mut piece = [0; PIECE];
        match channel.connection.read(&mut piece) {
            Io::Moved(length) => match self.answer.take(&piece[..length]) {
                Ok(Some(outcome)) => Ok(Step::Answered(outcome)),
                Ok(None) => Ok(Step::Again),
                Err(fault) => Err(Broken::Answer(fault)),
            },
            Io::UntilReadable => Ok(Step::Wait(For::Read)),
            Io::UntilWritable => Ok(Step::Wait(For::Write)),
            Io::Lost => Err(Broken::Lost),
        }
    }
}
