//! The allocator of the binary: mimalloc, told to give memory back soon after it is free.
//!
//! Requests and queries take and give back memory on several threads all the time, which the system's allocator is slow at. By
//! default mimalloc keeps what is free for a second, and looks at it only when somebody needs something: after a large answer a
//! server would keep hundreds of megabytes that nobody uses. This crate is its own because no other may make a call that the
//! compiler can not check; there is one.

pub use mimalloc::MiMalloc;

/// The place of `mi_option_purge_delay` among the options of mimalloc 3 (`mi_option_e` in its `mimalloc.h`).
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// After how many milliseconds. At once would leave less, and be a tenth slower where answers are small.
const MILLISECONDS: core::ffi::c_long = 20;

/// From now on, memory that is free goes back to the system soon. `MIMALLOC_PURGE_DELAY` in the environment counts more.
///
/// Call it before there are other threads.
pub fn give_back_soon() {
    // SAFETY: it sets a number in a table of the allocator. It is not to be called from two threads at a time, and no other code
    // here calls it.
    #[expect(unsafe_code, reason = "options are set by a function of C")]
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, MILLISECONDS);
    }
}

#[cfg(test)]
mod tests {
    /// The number is another one in other versions of the allocator.
    #[test]
    fn the_option_is_the_one_that_is_meant() {
        #[expect(unsafe_code, reason = "options are read by a function of C")]
        let before = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        let named = std::env::var("MIMALLOC_PURGE_DELAY").ok().and_then(|delay| delay.parse().ok());
        assert_eq!(before, named.unwrap_or(1000));
        super::give_back_soon();
        #[expect(unsafe_code, reason = "options are read by a function of C")]
        let after = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(after, named.unwrap_or(super::MILLISECONDS));
    }
}
