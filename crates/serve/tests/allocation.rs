//! Answering takes no memory from the heap once the buffer for the answer is there.

#![allow(missing_docs, clippy::unwrap_used)]

mod asking;

use asking::{ask, ready, zone};
use zonemesh_serve::{Moment, Outcome, Transport, answer};
use zonemesh_testkit::memory::{Counting, counted};

#[global_allocator]
static MEMORY: Counting = Counting;

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
                let (outcome, taken) =
                    counted(|| answer(&question.message, &question.client, view, &mut out));
                assert_eq!(outcome, Outcome::Reply);
                assert_eq!(taken.times, 0, "{qname} {qtype}");
            });
        }
    }
}
