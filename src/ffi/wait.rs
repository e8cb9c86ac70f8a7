//! Waiting for a socket: interruptible through the latch, or, once the commit record is written,
//! with a poll that never raises. Called by `publisher.rs`.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    Read,
    ReadOrWrite,
}

/// Waits until the socket is ready; false when the deadline passed. Raises the pending interrupt
/// (cancel, statement_timeout, terminate) and ends with the postmaster.
pub fn interruptible(socket: RawFd, what: For, deadline: Instant) -> bool {
    let write = if what == For::ReadOrWrite { pg_sys::WL_SOCKET_WRITEABLE } else { 0 };
    let events = pg_sys::WL_LATCH_SET
        | pg_sys::WL_SOCKET_READABLE
        | pg_sys::WL_TIMEOUT
        | pg_sys::WL_EXIT_ON_PM_DEATH
        | write;
    // SAFETY: set for the life of the process before any function can run.
    let latch = unsafe { pg_sys::MyLatch };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        // SAFETY: this backend's own latch, and an open socket.
        let ready = unsafe {
            pg_sys::WaitLatchOrSocket(
                latch,
                events as c_int,
                socket,
                left.as_millis().max(1) as _,
                pg_sys::PG_WAIT_EXTENSION,
            )
        } as u32;
        if ready & pg_sys::WL_LATCH_SET != 0 {
            // SAFETY: this backend's own latch.
            unsafe { pg_sys::ResetLatch(latch) };
        }
        pgrx::check_for_interrupts!();
        if ready & (pg_sys::WL_SOCKET_READABLE | pg_sys::WL_SOCKET_WRITEABLE) != 0 {
            return true;
        }
    }
}

/// The same without raising anything: false also when an interrupt is pending.
pub fn quiet(socket: RawFd, what: For, deadline: Instant) -> bool {
    /// How long a pending interrupt may go unnoticed.
    const SLICE: Duration = Duration::from_millis(100);
    let write = if what == For::ReadOrWrite { libc::POLLOUT } else { 0 };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || interrupt_pending() {
            return false;
        }
        let mut fd = libc::pollfd { fd: socket, events: libc::POLLIN | write, revents: 0 };
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
    flags.into_iter().any(|flag| unsafe { flag.read_volatile() } != 0)
}

/// When the current statement must end by `statement_timeout`. The server's own timer is off while
/// it commits, so waits there ask this.
pub fn statement_deadline() -> Option<Instant> {
    // SAFETY: reads a configuration variable.
    let timeout = unsafe { pg_sys::StatementTimeout };
    if timeout <= 0 {
        return None;
    }
    // SAFETY: reads a backend-local variable.
    let start = unsafe { pg_sys::GetCurrentStatementStartTimestamp() };
    // SAFETY: reads the clock.
    let elapsed = unsafe { pg_sys::GetCurrentTimestamp() } - start;
    let elapsed = Duration::from_micros(elapsed.max(0).unsigned_abs());
    let timeout = Duration::from_millis(timeout.unsigned_abs().into());
    Some(Instant::now() + timeout.saturating_sub(elapsed))
}

/// Runs `work` in a thread that no signal of the server reaches, waiting as `interruptible` does.
/// `None` when the deadline passed; the thread then ends by itself. For name resolution, which
/// nothing can interrupt; `work` must not touch the server.
pub fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    deadline: Instant,
) -> Option<T> {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    let (receiver, mut sender) = std::os::unix::net::UnixStream::pair().ok()?;
    let slot = std::sync::Arc::new(std::sync::Mutex::new(None));
    let result = slot.clone();
    without_signals(|| {
        std::thread::Builder::new()
            .spawn(move || {
                let value = work();
                if let Ok(mut slot) = slot.lock() {
                    *slot = Some(value);
                }
                // A byte, or the end of the stream, wakes the waiter.
                let _ = sender.write(&[0]);
            })
            .ok()
    })?;
    if !interruptible(receiver.as_raw_fd(), For::Read, deadline) {
        return None;
    }
    result.lock().ok()?.take()
}

/// Runs `work` with all signals blocked; a thread started in it keeps them blocked.
fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    let mut all = std::mem::MaybeUninit::uninit();
    let mut before = std::mem::MaybeUninit::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: a valid set, and room for the old one.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let value = work();
    // SAFETY: restores the set that was stored above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    value
}
