//! File descriptors that PostgreSQL did not open, but counts (fd.c), so that it leaves room for them.
//! Called by `publisher/login.rs`.

mod server {
    unsafe extern "C-unwind" {
        // storage/fd.h, since 13. Neither raises an ERROR.
        pub fn AcquireExternalFD() -> bool;
        pub fn ReleaseExternalFD();
    }
}

/// One descriptor, for as long as this lives.
pub struct Descriptor(());

impl Descriptor {
    /// `None` when a third of all that this process may have are taken so.
    pub fn reserve() -> Option<Self> {
        // SAFETY: counts, and may close files that PostgreSQL opens again when it needs them.
        unsafe { server::AcquireExternalFD() }.then(|| Self(()))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: reserved above, once.
        unsafe { server::ReleaseExternalFD() }
    }
}
