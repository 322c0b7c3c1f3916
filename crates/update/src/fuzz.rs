//! Body of the fuzz target: any octets as an UPDATE. Property tests run it too.

use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Record, Zone};

use crate::{Everything, Update, apply};

/// Parses an UPDATE and carries it out on a small zone.
pub fn update(octets: &[u8]) {
    let (Ok(update), Some(zone)) = (Update::parse(octets), small_zone()) else {
        return;
    };
    if let Ok(applied) = apply(&zone, &update, &Everything) {
        debug_assert_eq!(applied.zone.record_count(), applied.zone.records().count());
    }
}

fn small_zone() -> Option<Zone> {
    let apex = parse_name("example").ok()?;
    let mut editor = Editor::new(apex.clone());
    for text in [
        "@ 60 IN SOA ns root 1 2 3 4 5",
        "@ 60 IN NS ns",
        "a 60 IN A 192.0.2.1",
    ] {
        editor.add(Record::from_text(text, &apex).ok()?).ok()?;
    }
    editor.finish().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zonemesh_testkit::seeds;

    #[test]
    fn the_inputs_that_are_kept_with_the_source_are_survived() {
        seeds::each("update", super::update);
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets: Vec<u8>) {
            super::update(&octets);
        }

        #[test]
        fn an_update_that_was_damaged_is_survived(at in 0usize..80, octet: u8) {
            let apex = zonemesh_zone::record::parse_name("example").unwrap();
            let record = zonemesh_zone::Record::from_text("b 60 IN A 192.0.2.2", &apex).unwrap();
            let mut message = crate::Update::new(apex).add(record).compose(1).unwrap();
            let at = at % message.len();
            message[at] = octet;
            super::update(&message);
        }
    }
}
