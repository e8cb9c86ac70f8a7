//! Work in a thread that no signal of the server reaches: for what can't be interrupted (resolving a
//! name, a login inside libpq) and must not make a process of the server wait. Called by
//! `publisher/login.rs`.

use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};

use pgrx::pg_sys;

/// More than name resolution and TLS need.
const STACK: usize = 512 << 10;

/// Dropped before its end, the work is told to stop. Until it does, it counts as left behind.
pub struct Task<T> {
    /// Closed by the thread when it ends.
    done: UnixStream,
    result: Arc<Mutex<Option<T>>>,
    thread: Weak<Thread>,
    party: u32,
}

/// Lives as long as its thread.
struct Thread(AtomicI32);

/// By which the work notices that nobody waits for it any more.
pub struct Abandoned(UnixStream);

impl Abandoned {
    /// Readable from then on.
    pub fn socket(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl<T: Send + 'static> Task<T> {
    /// `work` must not touch the server. `party`: for whom it is done, see `left_behind`. `None` when
    /// no thread can be started.
    pub fn start(party: u32, work: impl FnOnce(&Abandoned) -> T + Send + 'static) -> Option<Self> {
        skip_destructors_at_exit();
        let (done, theirs) = UnixStream::pair().ok()?;
        let result = Arc::new(Mutex::new(None));
        let thread = Arc::new(Thread(AtomicI32::new(0)));
        let task = Self { done, result: result.clone(), thread: Arc::downgrade(&thread), party };
        let run = move || {
            let abandoned = Abandoned(theirs);
            // SAFETY: returns a number.
            thread.0.store(unsafe { libc::gettid() }, Ordering::Relaxed);
            let value = work(&abandoned);
            if let Ok(mut slot) = result.lock() {
                *slot = Some(value);
            }
            // The end of the stream wakes who waits, and finds the result there.
            drop(abandoned);
        };
        let builder = std::thread::Builder::new().stack_size(STACK);
        without_signals(|| builder.spawn(run)).ok()?;
        Some(task)
    }
}

impl<T> Task<T> {
    /// Readable when the work is done.
    pub fn socket(&self) -> RawFd {
        self.done.as_raw_fd()
    }

    /// `None` while it is not done, or when its thread panicked.
    pub fn take(&self) -> Option<T> {
        self.result.lock().ok()?.take()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.upgrade() else { return };
        // What nobody waits for any more must not take time from others. Zero would be this process.
        if let Ok(id @ 1..) = u32::try_from(thread.0.load(Ordering::Relaxed)) {
            // SAFETY: lowers the priority of a thread of this process, or of none.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, id, 19) };
        }
        let _ = self.done.shutdown(std::net::Shutdown::Both);
        if let Ok(mut left) = LEFT_BEHIND.lock() {
            left.push((self.party, self.thread.clone()));
        }
    }
}

static LEFT_BEHIND: Mutex<Vec<(u32, Weak<Thread>)>> = Mutex::new(Vec::new());

/// How many threads still run for a party although nobody waits for them.
pub fn left_behind(party: u32) -> usize {
    let Ok(mut left) = LEFT_BEHIND.lock() else { return 0 };
    left.retain(|(_, thread)| thread.strong_count() > 0);
    left.iter().filter(|(of, _)| *of == party).count()
}

/// A process that has had a thread ends without the destructors of libraries: OpenSSL's would take
/// its memory from under a thread that still computes, and the crash of one process restarts all.
fn skip_destructors_at_exit() {
    static ONCE: Once = Once::new();
    // SAFETY: a static function; it is called once, when all other work of the process is done.
    ONCE.call_once(|| unsafe { pg_sys::on_proc_exit(Some(on_proc_exit), 0.into()) });
}

static EXIT_CODE: AtomicI32 = AtomicI32::new(0);

/// What is registered last is called first, before any destructor.
unsafe extern "C-unwind" fn on_proc_exit(code: i32, _argument: pg_sys::Datum) {
    extern "C" fn leave() {
        // SAFETY: ends the process. PostgreSQL's own callbacks have run.
        unsafe { libc::_exit(EXIT_CODE.load(Ordering::Relaxed)) }
    }
    EXIT_CODE.store(code, Ordering::Relaxed);
    // SAFETY: a static function.
    unsafe { libc::atexit(leave) };
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
