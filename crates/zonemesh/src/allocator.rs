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

/// Gives back the pages that nothing in use is on, wherever they are: left to itself the library gives back only the end of a region.
/// Takes some milliseconds for each hundred megabytes, in which other threads wait for memory.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number, the octets to leave at the end of a region, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Two, so that zones can be made while others are: answers to queries take no memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const REGIONS: libc::c_int = 2;

/// From so many octets on a piece has pages of its own: what the library begins with, and then lets grow to 32 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 128 * 1024;

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// What of this process is in memory, in octets.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line
            .expect("it has that line")
            .trim()
            .trim_end_matches(" kB");
        kilobytes.parse::<usize>().expect("kilobytes") * 1024
    }

    #[test]
    fn what_is_free_between_what_is_in_use_is_given_back() {
        const PIECE: usize = 1000;
        const ALL: usize = 256 << 20;
        let mut pieces: Vec<Vec<u8>> = (0..ALL / PIECE).map(|_| vec![1; PIECE]).collect();
        // The last one keeps the region as long as it is.
        let last = pieces.pop();
        drop(pieces);
        let before = resident();
        give_back();
        // Other tests need memory meanwhile, and much less of it.
        assert!(resident() + ALL / 2 < before, "{before}");
        drop(last);
    }
}
