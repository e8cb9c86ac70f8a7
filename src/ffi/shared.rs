//! Areas of shared memory. Called by `watcher/shared.rs` and `reports/memory.rs`.
//!
//! An area holds plain data without pointers. Each static has its own memory, under a unique name, so
//! two types never refer to the same memory. Nothing that could raise runs while a lock is held:
//! closures only compute and copy.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pgrx::pg_sys;

thread_local! {
    /// The areas that were requested, in the postmaster.
    static REQUESTED: RefCell<Vec<&'static Place>> = const { RefCell::new(Vec::new()) };
    static NEXT_STARTUP: Cell<pg_sys::shmem_startup_hook_type> = const { Cell::new(None) };
}

/// Plain data: valid when all its bytes are zero, without pointers.
///
/// # Safety
/// Both hold for the type.
pub unsafe trait Plain: Sync + 'static {}

/// The place of an area. It is the same in each process, because all are forks of the postmaster.
struct Place {
    name: &'static CStr,
    has_lock: bool,
    block: AtomicPtr<u8>,
    /// In bytes; 0 until it is requested.
    size: AtomicUsize,
    count: AtomicUsize,
}

impl Place {
    const fn new(name: &'static CStr, has_lock: bool) -> Self {
        let block = AtomicPtr::new(std::ptr::null_mut());
        Self { name, has_lock, block, size: AtomicUsize::new(0), count: AtomicUsize::new(0) }
    }

    /// In the postmaster, while libraries are preloaded.
    fn request(&'static self, size: usize, count: usize) {
        let is_first = REQUESTED.with_borrow_mut(|areas| {
            assert!(areas.iter().all(|area| area.name != self.name), "two areas have one name");
            areas.push(self);
            areas.len() == 1
        });
        self.size.store(size, Ordering::Relaxed);
        self.count.store(count, Ordering::Relaxed);
        if is_first {
            reservation::install_hook();
            install_startup_hook();
        }
        reservation::reserve_now(self);
    }

    fn reserve(&self) {
        // SAFETY: at the time the server asks for it.
        unsafe { pg_sys::RequestAddinShmemSpace(self.size.load(Ordering::Relaxed)) };
        if self.has_lock {
            // SAFETY: as above.
            unsafe { pg_sys::RequestNamedLWLockTranche(self.name.as_ptr(), 1) };
        }
    }

    fn find(&self) {
        let (size, mut found) = (self.size.load(Ordering::Relaxed), false);
        // SAFETY: one process at start-up; the size was reserved.
        let block = unsafe { pg_sys::ShmemInitStruct(self.name.as_ptr(), size, &mut found) };
        let block = block.cast::<u8>();
        if !found {
            // SAFETY: as many bytes, fresh.
            unsafe { block.write_bytes(0, size) }
        }
        self.block.store(block, Ordering::Relaxed);
    }

    /// The block, and how many entries it has. `None` without preload.
    fn get(&self) -> Option<(*mut u8, usize)> {
        let block = self.block.load(Ordering::Relaxed);
        (!block.is_null()).then(|| (block, self.count.load(Ordering::Relaxed)))
    }
}

/// A header and a number of entries, under a lock.
pub struct Area<H: 'static, E: 'static>(Place, PhantomData<fn() -> (H, E)>);

impl<H: Plain, E: Plain> Area<H, E> {
    /// `name`: of the area and its lock; no other area may have it.
    pub const fn new(name: &'static CStr) -> Self {
        Self(Place::new(name, true), PhantomData)
    }

    /// Asks for a header and `count` entries, all zero when the server starts. In the postmaster, while
    /// libraries are preloaded.
    pub fn request(&'static self, count: usize) {
        const { assert!(align_of::<H>() <= 8 && align_of::<E>() <= 8) };
        const { assert!(size_of::<H>().is_multiple_of(8)) };
        self.0.request(size_of::<H>() + count * size_of::<E>(), count);
    }

    /// Reads under the shared lock. `None` without preload.
    pub fn read<R>(&self, work: impl FnOnce(&H, &[E]) -> R) -> Option<R> {
        let (header, entries, count) = self.places()?;
        let _lock = Lock::take(self.0.name, pg_sys::LWLockMode::LW_SHARED);
        // SAFETY: initialised; no writer while the lock is held.
        let header = unsafe { &*header };
        // SAFETY: as above, and `count` of them were asked for.
        let entries = unsafe { std::slice::from_raw_parts(entries, count) };
        Some(work(header, entries))
    }

    /// Writes under the exclusive lock. `None` without preload.
    pub fn write<R>(&self, work: impl FnOnce(&mut H, &mut [E]) -> R) -> Option<R> {
        let (header, entries, count) = self.places()?;
        let _lock = Lock::take(self.0.name, pg_sys::LWLockMode::LW_EXCLUSIVE);
        // SAFETY: initialised; nobody else has the lock.
        let header = unsafe { &mut *header };
        // SAFETY: as above, and `count` of them were asked for.
        let entries = unsafe { std::slice::from_raw_parts_mut(entries, count) };
        Some(work(header, entries))
    }

    fn places(&self) -> Option<(*mut H, *mut E, usize)> {
        let (block, count) = self.0.get()?;
        // SAFETY: the header comes first in the block.
        let entries = unsafe { block.add(size_of::<H>()) };
        Some((block.cast(), entries.cast(), count))
    }
}

/// A number of entries made of atomics only, which need no lock.
pub struct Atomics<A: 'static>(Place, PhantomData<fn() -> A>);

impl<A: Plain> Atomics<A> {
    /// `name`: no other area may have it.
    pub const fn new(name: &'static CStr) -> Self {
        Self(Place::new(name, false), PhantomData)
    }

    /// As `Area::request`.
    pub fn request(&'static self, count: usize) {
        const { assert!(align_of::<A>() <= 8) };
        self.0.request(count * size_of::<A>(), count);
    }

    /// `None` without preload.
    pub fn get(&self) -> Option<&'static [A]> {
        let (block, count) = self.0.get()?;
        // SAFETY: as many as were asked for; valid as zero, shared by all, never moved or freed.
        Some(unsafe { std::slice::from_raw_parts(block.cast::<A>(), count) })
    }
}

fn install_startup_hook() {
    // SAFETY: a variable of this process.
    NEXT_STARTUP.set(unsafe { pg_sys::shmem_startup_hook });
    // SAFETY: as above.
    unsafe { pg_sys::shmem_startup_hook = Some(on_startup) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_startup() {
    if let Some(next) = NEXT_STARTUP.get() {
        // SAFETY: the hook that was installed before.
        unsafe { next() }
    }
    REQUESTED.with_borrow(|areas| areas.iter().for_each(|area| area.find()));
}

/// The server asks for reservations when all libraries are loaded.
#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
mod reservation {
    use super::*;

    thread_local! {
        static NEXT: Cell<pg_sys::shmem_request_hook_type> = const { Cell::new(None) };
    }

    pub fn install_hook() {
        // SAFETY: a variable of this process.
        NEXT.set(unsafe { pg_sys::shmem_request_hook });
        // SAFETY: as above.
        unsafe { pg_sys::shmem_request_hook = Some(on_request) };
    }

    pub fn reserve_now(_area: &Place) {}

    #[pgrx::pg_guard]
    unsafe extern "C-unwind" fn on_request() {
        if let Some(next) = NEXT.get() {
            // SAFETY: the hook that was installed before.
            unsafe { next() }
        }
        REQUESTED.with_borrow(|areas| areas.iter().for_each(|area| area.reserve()));
    }
}

/// The server takes reservations while libraries are loaded.
#[cfg(any(feature = "pg13", feature = "pg14"))]
mod reservation {
    use super::*;

    pub fn install_hook() {}

    pub fn reserve_now(area: &Place) {
        area.reserve();
    }
}

struct Lock(*mut pg_sys::LWLock);

impl Lock {
    fn take(tranche: &CStr, mode: pg_sys::LWLockMode::Type) -> Self {
        // SAFETY: requested at start-up; returns an array of one.
        let tranche = unsafe { pg_sys::GetNamedLWLockTranche(tranche.as_ptr()) };
        // SAFETY: the first element.
        let lock = unsafe { &raw mut (*tranche).lock };
        // SAFETY: a lock in shared memory that this process does not hold.
        unsafe { pg_sys::LWLockAcquire(lock, mode) };
        Self(lock)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An ERROR resets the count of held interrupts (errfinish, elog.c), which the release
        // decrements.
        // SAFETY: reads a global of this process.
        if unsafe { pg_sys::InterruptHoldoffCount } == 0 {
            // SAFETY: sets it, as taking the lock has.
            unsafe { pg_sys::InterruptHoldoffCount = 1 };
        }
        // SAFETY: taken above; the abort of an ERROR comes after this.
        unsafe { pg_sys::LWLockRelease(self.0) }
    }
}
