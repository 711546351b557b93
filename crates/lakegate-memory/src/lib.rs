//! The allocator of the binary: mimalloc, configured to return freed memory to the system soon.
//!
//! Requests and queries allocate and free memory on several threads all the time, which is slow in the system's
//! allocator. By default, mimalloc keeps freed memory for a second and purges it only during a later allocation, so a
//! server that has just sent a large response would keep hundreds of megabytes unused. This crate is separate because
//! no other crate may contain unsafe code; this one has a single unsafe call.

pub use mimalloc::MiMalloc;

/// The index of `mi_option_purge_delay` among the options of mimalloc 3 (`mi_option_e` in its `mimalloc.h`).
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// The purge delay in milliseconds. No delay would keep less memory, but makes small responses a tenth slower.
const MILLISECONDS: core::ffi::c_long = 20;

/// Makes mimalloc return freed memory to the system soon. `MIMALLOC_PURGE_DELAY` in the environment takes precedence.
///
/// Call this before other threads start.
pub fn set_purge_delay() {
    // SAFETY: the function sets a number in a table of the allocator. It must not run on two threads at once, and no
    // other code here calls it.
    #[expect(unsafe_code, reason = "options are set by a function of C")]
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, MILLISECONDS);
    }
}

#[cfg(test)]
mod tests {
    /// The index differs in other versions of the allocator.
    #[test]
    fn the_option_is_the_one_that_is_meant() {
        #[expect(unsafe_code, reason = "options are read by a function of C")]
        let before = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        let named = std::env::var("MIMALLOC_PURGE_DELAY").ok().and_then(|delay| delay.parse().ok());
        assert_eq!(before, named.unwrap_or(1000));
        super::set_purge_delay();
        #[expect(unsafe_code, reason = "options are read by a function of C")]
        let after = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(after, named.unwrap_or(super::MILLISECONDS));
    }
}
