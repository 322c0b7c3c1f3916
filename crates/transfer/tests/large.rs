//! Large zones: how much memory a transfer takes beyond the zone itself, and how much work a small change is. Both are counted by what is
//! allocated, which is the same on every machine.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

use zonemesh_testkit::memory::{Counting, counted};
use zonemesh_transfer::inbound::Step;
use zonemesh_transfer::outbound::{Content, Response};
use zonemesh_transfer::query::{Question, Request};
use zonemesh_transfer::{Transfer, inbound::Incoming};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Diff, Editor, Name, Record, Rtype, Ttl, Zone};

#[global_allocator]
static MEMORY: Counting = Counting;

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
        let (octets, taken) = counted(send);
        assert!(octets > 20 * names, "{octets} octets");
        assert_eq!(taken.held, 0);
        taken.most
    };
    let (small, large) = (most(10_000), most(60_000));
    assert_as_little(small, large);
}

#[test]
fn a_zone_is_taken_in_with_little_memory_beyond_what_it_takes_itself() {
    let beyond = |names: usize| {
        let messages: Vec<Vec<u8>> = whole(&zone(names)).messages().collect();
        let (zone, taken) = counted(|| {
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
        let held = taken.held;
        assert!(held > 50 * names as isize, "{held} octets for the zone");
        taken.most - held
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
        let (new, applied) = counted(|| old.apply(&diff).unwrap());
        assert_eq!(new.record_count(), old.record_count());
        let (again, compared) = counted(|| old.diff(&new));
        assert_eq!((again.removed.len(), again.added.len()), (6, 6));
        (applied.asked, compared.asked)
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
