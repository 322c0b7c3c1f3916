//! Answering takes no memory from the heap once the buffer for the answer is there.

#![allow(missing_docs, clippy::unwrap_used)]

mod asking;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use asking::{ask, ready, zone};
use zonemesh_serve::{Moment, Outcome, Transport, answer};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came; the counter has no destructor and is not
// initialised lazily, so that touching it neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system's allocator wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn no_kind_of_answer_allocates() {
    let shared = ready([zone(
        "example.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS ns.child
         @ 60 IN MX 10 www
         @ 60 IN NSEC *.w NS SOA MX NSEC
         www 60 IN A 192.0.2.1
         alias 60 IN CNAME www
         old 60 IN DNAME w
         *.w 60 IN TXT wild
         *.w 60 IN NSEC example. TXT NSEC
         child 60 IN NS ns.child
         ns.child 60 IN A 192.0.2.2",
    )]);
    let mut out = Vec::with_capacity(4096);
    for (qname, qtype) in [
        ("www.example.", "A"),
        ("www.example.", "ANY"),
        ("www.example.", "AAAA"),
        ("alias.example.", "A"),
        ("a.old.example.", "TXT"),
        ("b.w.example.", "TXT"),
        ("w.example.", "TXT"),
        ("example.", "MX"),
        ("x.child.example.", "A"),
        ("child.example.", "DS"),
        ("nothing.example.", "A"),
        ("elsewhere.", "A"),
    ] {
        for question in [
            ask(qname, qtype),
            ask(qname, qtype).edns(1232, true).over(Transport::Tcp),
        ] {
            shared.view(Moment::default(), |view| {
                let before = COUNT.with(Cell::get);
                let outcome = answer(&question.message, &question.client, view, &mut out);
                let after = COUNT.with(Cell::get);
                assert_eq!(outcome, Outcome::Reply);
                assert_eq!(after - before, 0, "{qname} {qtype}");
            });
        }
    }
}
