//! Small zones for the tests of the store.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]
// Each test program uses what it needs of this.
#![allow(dead_code)]

use jiff::Timestamp;
use zonemesh_store::{Batch, Origin, Store};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Name, Record, Rrset, Rtype, Ttl, Zone};

/// The apex of zone `n`.
pub fn apex(n: u8) -> Name {
    parse_name(&format!("z{n}.Example")).unwrap()
}

/// A version of zone `n` whose records are made from the given numbers.
pub fn zone(n: u8, serial: u32, records: &[(u8, u8)]) -> Zone {
    zone_of(apex(n), serial, records)
}

/// The same of a zone with another name.
pub fn zone_of(apex: Name, serial: u32, records: &[(u8, u8)]) -> Zone {
    let mut editor = Editor::new(apex.clone());
    let soa = format!("@ 60 IN SOA ns.example. root.example. {serial} 1 2 3 4");
    editor.add(Record::from_text(&soa, &apex).unwrap()).unwrap();
    for (owner, rdata) in records {
        let owner = parse_name(&format!("n{owner}.{apex}")).unwrap();
        let record = Record::new(owner, Rtype::TXT, Ttl::from_secs(60), vec![1, *rdata]);
        editor.add(record).unwrap();
    }
    editor.finish().unwrap()
}

/// The next version of a zone: with another serial and one TXT record whose text is the serial.
pub fn next(zone: &Zone, serial: u32) -> Zone {
    let mut editor = zone.edit();
    let owner = parse_name(&format!("counter.{}", zone.apex())).unwrap();
    let text = serial.to_string();
    let mut rdata = vec![text.len() as u8];
    rdata.extend_from_slice(text.as_bytes());
    let set = Rrset::new(Rtype::TXT, Ttl::from_secs(60), [rdata]);
    editor.put(&owner, set).unwrap();
    assert!(editor.set_serial(serial.into()));
    editor.finish().unwrap()
}

/// What `next` has written last.
pub fn counter(zone: &Zone) -> Option<u32> {
    let owner = parse_name(&format!("counter.{}", zone.apex())).unwrap();
    let rdata = zone.rrset(&owner, Rtype::TXT)?.first()?.to_vec();
    String::from_utf8(rdata[1..].to_vec()).ok()?.parse().ok()
}

/// A time, in seconds.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// The contents of a zone, as the store has them.
pub fn held(store: &Store, n: u8) -> Zone {
    store.load(&apex(n)).unwrap().unwrap().zone
}

/// Stores a first version.
pub fn create(store: &Store, zone: &Zone) {
    let batch = Batch::new(at(1)).replace(zone, Origin::Local);
    store.commit(batch).unwrap();
}

/// Stores a further version and returns it.
pub fn advance(store: &Store, old: &Zone, serial: u32, seconds: i64) -> Zone {
    let new = next(old, serial);
    let batch = Batch::new(at(seconds)).append(&new, &old.diff(&new), Origin::Local);
    store.commit(batch).unwrap();
    new
}
