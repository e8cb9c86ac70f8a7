//! One block of shared memory with its lock. Called by `watcher/shared.rs`.
//!
//! The block holds plain data without pointers. Nothing that could raise runs while the lock is
//! held: the closures only compute and copy.

use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;

use pgrx::pg_sys;

const NAME: &CStr = c"pgmig_extras";

thread_local! {
    static BLOCK: Cell<*mut u8> = const { Cell::new(std::ptr::null_mut()) };
    static SIZE: Cell<usize> = const { Cell::new(0) };
    #[cfg(not(any(feature = "pg13", feature = "pg14")))]
    static NEXT_REQUEST: Cell<pg_sys::shmem_request_hook_type> = const { Cell::new(None) };
    static NEXT_STARTUP: Cell<pg_sys::shmem_startup_hook_type> = const { Cell::new(None) };
}

/// Plain data: valid when all its bytes are zero, without pointers.
///
/// # Safety
/// Just that.
pub unsafe trait Plain {}

/// A header, a number of entries, and as many places made of atomics only, which need no lock, as they
/// lie in the block.
pub struct Block<H, E, A>(PhantomData<(H, E, A)>);

impl<H: Plain, E: Plain, A: Plain + Sync + 'static> Block<H, E, A> {
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    /// Asks for a header and `count` entries, all zero when the server starts. In the postmaster,
    /// while libraries are preloaded.
    pub fn request(&self, count: usize) {
        assert!(align_of::<E>() <= 8 && size_of::<H>().is_multiple_of(8));
        assert!(align_of::<A>() <= 8 && size_of::<E>().is_multiple_of(8));
        SIZE.set(size_of::<H>() + count * (size_of::<E>() + size_of::<A>()));
        install_hooks();
    }

    /// Reads under the shared lock. `None` without preload.
    pub fn read<R>(&self, work: impl FnOnce(&H, &[E]) -> R) -> Option<R> {
        let (header, entries, count) = self.places()?;
        let _lock = Lock::take(pg_sys::LWLockMode::LW_SHARED);
        // SAFETY: initialised; no writer while the lock is held.
        let header = unsafe { &*header };
        // SAFETY: as above, and `count` of them were asked for.
        let entries = unsafe { std::slice::from_raw_parts(entries, count) };
        Some(work(header, entries))
    }

    /// Writes under the exclusive lock. `None` without preload.
    pub fn write<R>(&self, work: impl FnOnce(&mut H, &mut [E]) -> R) -> Option<R> {
        let (header, entries, count) = self.places()?;
        let _lock = Lock::take(pg_sys::LWLockMode::LW_EXCLUSIVE);
        // SAFETY: initialised; nobody else has the lock.
        let header = unsafe { &mut *header };
        // SAFETY: as above, and `count` of them were asked for.
        let entries = unsafe { std::slice::from_raw_parts_mut(entries, count) };
        Some(work(header, entries))
    }

    /// The places that need no lock. `None` without preload.
    pub fn atomics(&self) -> Option<&'static [A]> {
        let (_, entries, count) = self.places()?;
        // SAFETY: they follow the entries in the block.
        let atomics = unsafe { entries.add(count) }.cast::<A>();
        // SAFETY: as many as there are entries; valid as zero, shared by all, never moved.
        Some(unsafe { std::slice::from_raw_parts(atomics, count) })
    }

    fn places(&self) -> Option<(*mut H, *mut E, usize)> {
        let block = BLOCK.get();
        if block.is_null() {
            return None;
        }
        let count = (SIZE.get() - size_of::<H>()) / (size_of::<E>() + size_of::<A>());
        // SAFETY: the header comes first in the block.
        let entries = unsafe { block.add(size_of::<H>()) };
        Some((block.cast(), entries.cast(), count))
    }
}

fn install_hooks() {
    #[cfg(any(feature = "pg13", feature = "pg14"))]
    // SAFETY: while libraries are preloaded, as these majors ask for.
    unsafe {
        reserve()
    };
    #[cfg(not(any(feature = "pg13", feature = "pg14")))]
    {
        // SAFETY: a variable of this process.
        NEXT_REQUEST.set(unsafe { pg_sys::shmem_request_hook });
        // SAFETY: as above.
        unsafe { pg_sys::shmem_request_hook = Some(on_request) };
    }
    // SAFETY: a variable of this process.
    NEXT_STARTUP.set(unsafe { pg_sys::shmem_startup_hook });
    // SAFETY: as above.
    unsafe { pg_sys::shmem_startup_hook = Some(on_startup) };
}

unsafe fn reserve() {
    // SAFETY: at the time the server asks for it.
    unsafe { pg_sys::RequestAddinShmemSpace(SIZE.get()) };
    // SAFETY: as above.
    unsafe { pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1) };
}

#[cfg(not(any(feature = "pg13", feature = "pg14")))]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_request() {
    if let Some(next) = NEXT_REQUEST.get() {
        // SAFETY: the hook that was installed before.
        unsafe { next() }
    }
    // SAFETY: within the hook.
    unsafe { reserve() }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_startup() {
    if let Some(next) = NEXT_STARTUP.get() {
        // SAFETY: the hook that was installed before.
        unsafe { next() }
    }
    let mut found = false;
    // SAFETY: one process at start-up; the size was reserved.
    let block =
        unsafe { pg_sys::ShmemInitStruct(NAME.as_ptr(), SIZE.get(), &mut found) }.cast::<u8>();
    if !found {
        // SAFETY: as many bytes, fresh.
        unsafe { block.write_bytes(0, SIZE.get()) }
    }
    BLOCK.set(block);
}

struct Lock(*mut pg_sys::LWLock);

impl Lock {
    fn take(mode: pg_sys::LWLockMode::Type) -> Self {
        // SAFETY: requested at start-up; returns an array of one.
        let tranche = unsafe { pg_sys::GetNamedLWLockTranche(NAME.as_ptr()) };
        // SAFETY: the first element.
        let lock = unsafe { &raw mut (*tranche).lock };
        // SAFETY: a lock in shared memory that this process does not hold.
        unsafe { pg_sys::LWLockAcquire(lock, mode) };
        Self(lock)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: taken above. After an ERROR the abort has released it, but none is raised meanwhile.
        unsafe { pg_sys::LWLockRelease(self.0) }
    }
}
