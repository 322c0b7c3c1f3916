//! How memory that is not needed any longer goes back to the system.
//!
//! Left to itself the allocator of the GNU C library gives each thread a region of its own, eight for each processor, and what one
//! leaves free the others cannot use; and it keeps large pieces for later once one was freed. A start with many zones leaves a
//! quarter of its memory behind that way (decision 0036). Other C libraries do neither.

/// Has few regions, and large pieces given back at once. To be called before other threads are started.
pub(crate) fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (what, value) in [
        (libc::M_ARENA_MAX, REGIONS),
        (libc::M_MMAP_THRESHOLD, LARGE),
    ] {
        // SAFETY: it takes two numbers, and changes nothing but how the allocator works from now on. What it cannot set it leaves as
        // it was, and so it may fail.
        unsafe { libc::mallopt(what, value) };
    }
}

/// Two, so that zones can be made while others are: answers to queries take no memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const REGIONS: libc::c_int = 2;

/// From so many octets on a piece has pages of its own: what the library begins with, and then lets grow to 32 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 128 * 1024;
