//! Waiting for a socket: interruptible through the latch, or, once the commit record is written,
//! with a poll that never raises. Called by `publisher/` and `watcher/`.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use pgrx::pg_sys;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    Read,
    Write,
    ReadOrWrite,
}

impl For {
    /// Each event that is waited for, of two.
    fn events<T: std::ops::BitOr<Output = T>>(self, read: T, write: T) -> T {
        match self {
            Self::Read => read,
            Self::Write => write,
            Self::ReadOrWrite => read | write,
        }
    }

    fn poll(self, socket: RawFd) -> libc::pollfd {
        let events = self.events(libc::POLLIN, libc::POLLOUT);
        libc::pollfd { fd: socket, events, revents: 0 }
    }
}

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Raises a pending interrupt (cancel, statement_timeout, terminate) and ends with the postmaster.
    Interruptible,
    /// Raises nothing: a pending interrupt counts as a deadline that passed.
    Quiet,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    Ready,
    Late,
    /// An interrupt is pending, which the caller is to raise.
    Interrupted,
}

impl Mode {
    /// Waits until the socket is ready, and leaves it to the caller to raise an interrupt.
    pub fn wait(self, socket: RawFd, what: For, deadline: Instant) -> Waited {
        match self {
            Self::Interruptible => until_interrupt(events_of(socket, what), deadline, At::Deadline),
            Self::Quiet if quiet(socket, what, deadline) => Waited::Ready,
            Self::Quiet => Waited::Late,
        }
    }

    /// The same between two pieces of work that need no wait.
    pub fn look(self, deadline: Instant) -> Waited {
        match (interrupt_pending(), self) {
            (true, Self::Interruptible) => Waited::Interrupted,
            (true, Self::Quiet) => Waited::Late,
            (false, _) if self.go_on(deadline) => Waited::Ready,
            (false, _) => Waited::Late,
        }
    }

    /// Waits until the socket is ready; false when the deadline passed.
    pub fn until_ready(self, socket: RawFd, what: For, deadline: Instant) -> bool {
        match self {
            Self::Interruptible => interruptible(socket, what, deadline),
            Self::Quiet => quiet(socket, what, deadline),
        }
    }

    /// Between two pieces of work that need no wait; false when the deadline passed.
    pub fn go_on(self, deadline: Instant) -> bool {
        if self == Self::Quiet {
            return !interrupt_pending() && Instant::now() < deadline;
        }
        pgrx::check_for_interrupts!();
        Instant::now() < deadline
    }

    /// Waits for a moment; false when the deadline passed.
    pub fn pause(self, time: Duration, deadline: Instant) -> bool {
        match self {
            Self::Interruptible => until(deadline.min(Instant::now() + time)),
            Self::Quiet => std::thread::sleep(time),
        }
        self.go_on(deadline)
    }
}

/// Waits until the socket is ready; false when the deadline passed. Raises the pending interrupt
/// (cancel, statement_timeout, terminate) and ends with the postmaster.
pub fn interruptible(socket: RawFd, what: For, deadline: Instant) -> bool {
    wait(events_of(socket, what), deadline, At::Deadline)
}

fn events_of(socket: RawFd, what: For) -> Option<(RawFd, u32)> {
    Some((socket, what.events(pg_sys::WL_SOCKET_READABLE, pg_sys::WL_SOCKET_WRITEABLE)))
}

/// Waits for a point in time, interruptibly.
pub fn until(deadline: Instant) {
    wait(None, deadline, At::Deadline);
}

/// When a wait ends that nothing came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Deadline,
    /// Also when this process is woken.
    Latch,
}

fn wait(socket: Option<(RawFd, u32)>, deadline: Instant, end: At) -> bool {
    loop {
        match until_interrupt(socket, deadline, end) {
            Waited::Ready => return true,
            Waited::Late => return false,
            Waited::Interrupted => {
                pgrx::check_for_interrupts!();
            }
        }
    }
}

/// Raises only what is no reason to end the statement in an orderly way.
fn until_interrupt(socket: Option<(RawFd, u32)>, deadline: Instant, end: At) -> Waited {
    let (socket, ready) = socket.unwrap_or((pg_sys::PGINVALID_SOCKET, 0));
    let always = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: set for the life of the process before any function can run.
    let latch = unsafe { pg_sys::MyLatch };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Waited::Late;
        }
        // SAFETY: this backend's own latch, and an open socket if there are events of one.
        let happened = unsafe {
            pg_sys::WaitLatchOrSocket(
                latch,
                (always | ready) as c_int,
                socket,
                left.as_millis().max(1) as _,
                pg_sys::PG_WAIT_EXTENSION,
            )
        } as u32;
        if happened & pg_sys::WL_LATCH_SET != 0 {
            // SAFETY: this backend's own latch.
            unsafe { pg_sys::ResetLatch(latch) };
        }
        if interrupt_pending() {
            return Waited::Interrupted;
        }
        pgrx::check_for_interrupts!();
        if happened & ready != 0 {
            return Waited::Ready;
        }
        if end == At::Latch && happened & pg_sys::WL_LATCH_SET != 0 {
            return Waited::Late;
        }
    }
}

/// The same without raising anything: false also when an interrupt is pending.
fn quiet(socket: RawFd, what: For, deadline: Instant) -> bool {
    /// How long a pending interrupt may go unnoticed.
    const SLICE: Duration = Duration::from_millis(100);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || interrupt_pending() {
            return false;
        }
        let mut fd = what.poll(socket);
        // SAFETY: one valid pollfd.
        let ready = unsafe { libc::poll(&mut fd, 1, left.min(SLICE).as_millis().max(1) as c_int) };
        if ready > 0 {
            return true;
        }
    }
}

fn interrupt_pending() -> bool {
    let flags = [&raw const pg_sys::QueryCancelPending, &raw const pg_sys::ProcDiePending];
    // SAFETY: flags of this process that its signal handlers set.
    let is_set = flags.into_iter().any(|flag| unsafe { flag.read_volatile() } != 0);
    is_set || transaction_timeout::is_pending()
}

/// When the current statement must end by `statement_timeout`. The server's own timer is off while
/// it commits, so waits there ask this.
pub fn statement_deadline() -> Option<Instant> {
    // SAFETY: reads a configuration variable.
    let timeout = unsafe { pg_sys::StatementTimeout };
    // SAFETY: reads a backend-local variable.
    let start = unsafe { pg_sys::GetCurrentStatementStartTimestamp() };
    end_of(timeout, start)
}

/// The end of the transaction by `transaction_timeout`, which begins with it.
pub fn transaction_deadline() -> Option<Instant> {
    transaction_timeout::deadline()
}

/// These majors have no `transaction_timeout`.
#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15", feature = "pg16"))]
mod transaction_timeout {
    use super::Instant;

    pub fn deadline() -> Option<Instant> {
        None
    }

    pub fn is_pending() -> bool {
        false
    }
}

#[cfg(any(feature = "pg17", feature = "pg18"))]
mod transaction_timeout {
    use super::*;

    pub fn deadline() -> Option<Instant> {
        // SAFETY: reads a configuration variable.
        let timeout = unsafe { pg_sys::TransactionTimeout };
        // SAFETY: reads a backend-local variable.
        let start = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
        end_of(timeout, start)
    }

    /// Whether the timeout has passed and the transaction is about to be ended.
    pub fn is_pending() -> bool {
        let flag = &raw const pg_sys::TransactionTimeoutPending;
        // SAFETY: a flag of this process that its signal handler sets.
        unsafe { flag.read_volatile() != 0 }
    }
}

/// When a time in milliseconds that began at `start` ends. Zero: never.
fn end_of(timeout: i32, start: pg_sys::TimestampTz) -> Option<Instant> {
    if timeout <= 0 {
        return None;
    }
    let elapsed = Duration::from_micros((timestamp() - start).max(0).unsigned_abs());
    let timeout = Duration::from_millis(timeout.unsigned_abs().into());
    Some(Instant::now() + timeout.saturating_sub(elapsed))
}

/// The machine's monotonic clock in microseconds: the same in every process.
pub fn monotonic_micros() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}

/// The wall clock, as SQL shows it.
pub fn timestamp() -> pg_sys::TimestampTz {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Whether the other side has closed a connection, as far as can be told without reading.
pub fn is_closed(socket: RawFd) -> bool {
    let closed = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
    let mut fd = libc::pollfd { fd: socket, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one valid pollfd.
    let happened = unsafe { libc::poll(&mut fd, 1, 0) };
    happened != 0 && fd.revents & closed != 0
}

/// For threads, in which nothing of the server may be called: waits until one of the sockets is ready.
/// False when the deadline passed.
pub fn in_thread(sockets: &[(RawFd, For)], deadline: Instant) -> bool {
    let mut fds: Vec<_> = sockets.iter().map(|(socket, what)| what.poll(*socket)).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let timeout = c_int::try_from(left.as_millis().max(1)).unwrap_or(c_int::MAX);
        // SAFETY: valid pollfds, as many as it says.
        if unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) } > 0 {
            return true;
        }
    }
}

/// Waits until any of the sockets is ready, interruptibly; false when the deadline passed.
pub fn any(sockets: &[(RawFd, For)], deadline: Instant) -> bool {
    // An epoll descriptor is readable when one of its sockets is ready, and PostgreSQL's own wait
    // takes just one.
    match Epoll::of(sockets) {
        Some(set) => {
            wait(Some((set.0.as_raw_fd(), pg_sys::WL_SOCKET_READABLE)), deadline, At::Latch)
        }
        None => {
            // No descriptor is left: another try soon.
            until(deadline.min(Instant::now() + Duration::from_millis(100)));
            false
        }
    }
}

struct Epoll(OwnedFd);

impl Epoll {
    fn of(sockets: &[(RawFd, For)]) -> Option<Self> {
        // SAFETY: creates a descriptor, or returns -1.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return None;
        }
        // SAFETY: just created, owned by nobody else.
        let set = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        for (socket, what) in sockets {
            let events = what.events(libc::EPOLLIN, libc::EPOLLOUT) as u32;
            let mut event = libc::epoll_event { events, u64: 0 };
            // SAFETY: two open descriptors and a valid event.
            unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, *socket, &mut event) };
        }
        Some(set)
    }
}
