//! The system's memory, counted: for tests of how much of it something takes. They make it theirs by
//! `#[global_allocator] static MEMORY: Counting = Counting;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts for each thread, so that tests do not count each other's.
pub struct Counting;

/// What a thread has counted, or what it has counted while it did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How often memory was asked for.
    pub times: isize,
    /// All that was ever asked for, in octets as all that follow.
    pub asked: isize,
    /// What is held.
    pub held: isize,
    /// The most that was held since somebody looked.
    pub most: isize,
    /// What is held, each piece as large as the allocator of the GNU C library makes it: with eight octets in front, in steps of
    /// sixteen, and no smaller than 32.
    pub pieces: isize,
}

thread_local! {
    static COUNTED: Cell<Counted> = const {
        Cell::new(Counted { times: 0, asked: 0, held: 0, most: 0, pieces: 0 })
    };
}

fn count(layout: Layout, sign: isize) {
    let octets = layout.size() as isize;
    let piece = (layout.size() + 8).next_multiple_of(16).max(32) as isize;
    // Where the thread ends nothing is counted any more.
    let _ended = COUNTED.try_with(|counted| {
        let mut now = counted.get();
        now.times += sign.max(0);
        now.asked += octets * sign.max(0);
        now.held += octets * sign;
        now.most = now.most.max(now.held);
        now.pieces += piece * sign;
        counted.set(now);
    });
}

// SAFETY: all is handed to the system's allocator as it came, with the same layout both ways; counting allocates nothing, for what it
// counts in has no destructor and is not made when it is first touched.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: the caller keeps the promises that this function asks for, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(layout, -1);
        // SAFETY: it came from the system's allocator, with this layout.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Does something, and says what it has taken: what it holds in the end, and what it held at most, beyond what was held before.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Counted) {
    let mut before = COUNTED.get();
    before.most = before.held;
    COUNTED.set(before);
    let outcome = work();
    let now = COUNTED.get();
    let taken = Counted {
        times: now.times - before.times,
        asked: now.asked - before.asked,
        held: now.held - before.held,
        most: now.most - before.most,
        pieces: now.pieces - before.pieces,
    };
    (outcome, taken)
}
