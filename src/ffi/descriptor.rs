//! File descriptors that PostgreSQL did not open but counts (fd.c), so that it leaves space for them.
//! Called by `publisher/login.rs`.

mod server {
    unsafe extern "C-unwind" {
        // storage/fd.h, since 13. Neither raises an ERROR.
        pub fn AcquireExternalFD() -> bool;
        pub fn ReleaseExternalFD();
    }
}

/// Descriptors that PostgreSQL needs for its own waits (WaitEventSet, latch.c). Without them a wait
/// raises an ERROR.
const SPARE: usize = 4;

/// Descriptors that stay reserved while this exists.
pub struct Descriptors(usize);

impl Descriptors {
    /// `None` if a third of this process's descriptors are reserved already.
    pub fn reserve(count: usize) -> Option<Self> {
        let mut reserved = Self(0);
        for _ in 0..count + SPARE {
            // SAFETY: counts, and may close files that PostgreSQL opens again when it needs them.
            if !unsafe { server::AcquireExternalFD() } {
                return None;
            }
            reserved.0 += 1;
        }
        reserved.keep(count);
        Some(reserved)
    }

    /// Gives back all but so many.
    pub fn keep(&mut self, count: usize) {
        while self.0 > count {
            // SAFETY: reserved above, once.
            unsafe { server::ReleaseExternalFD() }
            self.0 -= 1;
        }
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        self.keep(0);
    }
}
