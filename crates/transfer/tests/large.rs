//! Large zones: how much memory a transfer takes beyond the zone itself, and how much work a small change is. Both are counted by what is
//! allocated, which is the same on every machine.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use zonemesh_transfer::inbound::Step;
use zonemesh_transfer::outbound::{Content, Response};
use zonemesh_transfer::query::{Question, Request};
use zonemesh_transfer::{Transfer, inbound::Incoming};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Diff, Editor, Name, Record, Rtype, Ttl, Zone};

/// The system's memory, counted for each thread, so that tests do not count each other's.
struct Counting;

#[global_allocator]
static MEMORY: Counting = Counting;

thread_local! {
    /// What is held, the most that was since somebody looked, and what was ever asked for, in octets.
    static COUNTED: Cell<(isize, isize, isize)> = const { Cell::new((0, 0, 0)) };
}

fn count(octets: isize) {
    // Where the thread ends nothing is counted any more.
    let _ended = COUNTED.try_with(|counted| {
        let (held, most, all) = counted.get();
        let held = held + octets;
        counted.set((held, most.max(held), all + octets.max(0)));
    });
}

// SAFETY: all is handed to the system's allocator as it came, with the same layout both ways; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the promises that this function asks for, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: it came from the system's allocator, with this layout.
        unsafe { System.dealloc(place, layout) }
    }
}

/// What came of something, and in octets: what it holds in the end, what it held at most, and all that it asked for.
fn counted<T>(work: impl FnOnce() -> T) -> (T, isize, isize, isize) {
    let (before, _, all_before) = COUNTED.get();
    COUNTED.set((before, before, all_before));
    let outcome = work();
    let (held, most, all) = COUNTED.get();
    (outcome, held - before, most - before, all - all_before)
}

fn apex() -> Name {
    parse_name("example.com").unwrap()
}

fn record(number: usize) -> Record {
    let owner = parse_name(&format!("host-{number:07}.example.com")).unwrap();
    Record::new(
        owner,
        Rtype::A,
        Ttl::from_secs(60),
        (number as u32).to_be_bytes().to_vec(),
    )
}

fn zone(names: usize) -> Zone {
    let mut editor = Editor::new(apex());
    let soa = Record::from_text("@ 3600 IN SOA ns root 1 1 1 1 1", &apex()).unwrap();
    editor.add(soa).unwrap();
    for number in 0..names {
        editor.add(record(number)).unwrap();
    }
    editor.finish().unwrap()
}

fn whole(zone: &Zone) -> Response {
    let request = Request::new(9, apex(), Question::Axfr);
    Response::with_content(&request, zone.clone(), Content::Axfr)
}

/// What a large zone needs is little, and no more than a small one does.
fn assert_as_little(small: isize, large: isize) {
    assert!(
        large <= small + 4096,
        "{small} octets for a small zone, {large} for a large one"
    );
    assert!(large < 1 << 20, "{large} octets");
}

#[test]
fn a_zone_is_sent_in_memory_that_does_not_grow_with_it() {
    let most = |names: usize| {
        let zone = zone(names);
        let send = || {
            whole(&zone)
                .messages()
                .map(|message| message.len())
                .sum::<usize>()
        };
        let (octets, left, most, _) = counted(send);
        assert!(octets > 20 * names, "{octets} octets");
        assert_eq!(left, 0);
        most
    };
    let (small, large) = (most(10_000), most(60_000));
    assert_as_little(small, large);
}

#[test]
fn a_zone_is_taken_in_with_little_memory_beyond_what_it_takes_itself() {
    let beyond = |names: usize| {
        let messages: Vec<Vec<u8>> = whole(&zone(names)).messages().collect();
        let (zone, held, most, _) = counted(|| {
            let mut transfer = Transfer::axfr(apex(), None, 9);
            messages
                .iter()
                .find_map(|message| match transfer.feed(message).unwrap() {
                    Step::Done(Incoming::Full(zone)) => Some(zone),
                    Step::Done(other) => panic!("{other:?}"),
                    Step::More => None,
                })
                .unwrap()
        });
        assert_eq!(zone.record_count(), names + 1);
        assert!(held > 50 * names as isize, "{held} octets for the zone");
        most - held
    };
    let (small, large) = (beyond(10_000), beyond(60_000));
    assert_as_little(small, large);
}

#[test]
fn a_change_of_ten_records_is_as_much_work_in_a_large_zone_as_in_a_small_one() {
    let work = |names: usize| {
        let old = zone(names);
        let (soa, next) = (
            old.soa_record(),
            Record::from_text("@ 3600 IN SOA ns root 2 1 1 1 1", &apex()),
        );
        let places = (0..5).map(|number| number * names / 5);
        let diff = Diff {
            removed: [soa]
                .into_iter()
                .chain(places.clone().map(record))
                .collect(),
            added: [next.unwrap()]
                .into_iter()
                .chain(places.map(|at| record(at + 5_000_000)))
                .collect(),
        };
        let (new, _, _, applied) = counted(|| old.apply(&diff).unwrap());
        assert_eq!(new.record_count(), old.record_count());
        let (again, _, _, compared) = counted(|| old.diff(&new));
        assert_eq!((again.removed.len(), again.added.len()), (6, 6));
        (applied, compared)
    };
    let ((small, few), (large, many)) = (work(1_000), work(100_000));
    // The way down is longer by some branches.
    assert!(
        large < small * 2,
        "{small} octets in a small zone, {large} in a large one"
    );
    assert!(
        many < few * 2,
        "{few} octets in a small zone, {many} in a large one"
    );
}
