use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn zone(number: u32) -> Name {
    format!("zone-{number}.example").parse::<Name>().unwrap()
}

fn holding(number: u32, serial: u32, contents: u8) -> Holding {
    Holding {
        apex: zone(number),
        serial: Serial(serial),
        digest: Digest::from_octets([contents; Digest::LEN]),
        authentic: false,
    }
}

fn of(zones: impl IntoIterator<Item = Holding>) -> Inventory {
    let mut inventory = Inventory::default();
    for holding in zones {
        inventory.put(holding);
    }
    inventory
}

/// Finds what differs as two sites do: by questions that one asks the other. With how many there were, and the octets of the
/// longest answer.
fn find(ours: &Inventory, theirs: &Inventory) -> (Vec<Name>, usize, usize) {
    let mut open = vec![Section::ALL];
    let (mut found, mut asked, mut longest) = (Vec::new(), 0, 0);
    while let Some(section) = open.pop() {
        let answer = theirs.list(section).compose(section);
        let (about, listing) = Listing::parse(&answer).unwrap();
        assert_eq!(about, section);
        asked += 1;
        longest = longest.max(answer.len());
        let differences = ours.compare(section, &listing);
        open.extend(differences.sections);
        found.extend(differences.zones.into_iter().map(|(ours, theirs)| {
            assert_eq!(ours.apex, theirs.apex);
            ours.apex
        }));
    }
    found.sort();
    (found, asked, longest)
}

#[test]
fn one_zone_of_a_hundred_thousand_is_found_with_a_few_small_messages() {
    let all = of((0..100_000).map(|number| holding(number, 1, 1)));
    assert_eq!(all.len(), 100_000);
    let mut other = all.clone();
    other.put(holding(4711, 1, 2));
    other.put(holding(99_999, 2, 1));
    assert_ne!(all.sum(), other.sum());
    let (found, asked, longest) = find(&all, &other);
    assert_eq!(found, [zone(4711), zone(99_999)]);
    assert!(asked <= 5, "{asked} questions");
    assert!(longest <= 2000, "{longest} octets");
}

#[test]
fn names_are_found_in_any_case_and_the_longest_ones_fit_an_option() {
    let label = "x".repeat(63);
    let long = |number: usize| format!("{number:05}{}.{label}.{label}.{label}", "y".repeat(55));
    let names: Vec<Name> = (0..LISTED).map(|n| long(n).parse().unwrap()).collect();
    let listing = Listing::Zones(
        names
            .iter()
            .map(|apex| Holding {
                apex: apex.clone(),
                ..holding(1, 2, 3)
            })
            .collect(),
    );
    let octets = listing.compose(Section::ALL);
    assert!(octets.len() < 10_000);
    assert_eq!(Listing::parse(&octets), Some((Section::ALL, listing)));
    let mut inventory = of([holding(1, 2, 3)]);
    let upper: Name = "ZONE-1.Example".parse().unwrap();
    assert!(inventory.get(&upper).is_some());
    inventory.remove(&upper);
    assert_eq!((inventory.sum(), inventory.is_empty()), (0, true));
}

#[test]
fn sums_stay_what_they_are() {
    // Sites of different versions compare them: another value here is another protocol.
    let inventory = of((0..1000).map(|number| holding(number, 7, 9)));
    assert_eq!(format!("{:x}", inventory.sum()), "6ca33c440e9a93c4");
}

proptest! {
    #[test]
    fn kept_up_by_changes_it_is_what_it_would_be_anew_and_what_differs_is_found(
        changes in prop::collection::vec((0u32..200, 0u32..3, 0u8..3, any::<bool>()), 0..400),
        more in prop::collection::vec((0u32..200, 0u32..3, 0u8..3), 0..10),
    ) {
        let mut inventory = Inventory::default();
        let mut model = BTreeMap::new();
        for (number, serial, contents, goes) in changes {
            // What others hold on to must not change under them.
            let before = (inventory.clone(), inventory.sum());
            if goes {
                inventory.remove(&zone(number));
                model.remove(&number);
            } else {
                inventory.put(holding(number, serial, contents));
                model.insert(number, holding(number, serial, contents));
            }
            let (clone, sum) = before;
            prop_assert_eq!(clone.sum(), sum);
        }
        let anew = of(model.values().cloned());
        prop_assert_eq!((inventory.sum(), inventory.len()), (anew.sum(), model.len()));
        prop_assert_eq!(find(&inventory, &anew).0, Vec::<Name>::new());
        for number in 0..200 {
            prop_assert_eq!(inventory.get(&zone(number)), model.get(&number));
        }
        let mut other = anew.clone();
        let mut expected = Vec::new();
        for (number, serial, contents) in more {
            let theirs = holding(number, serial, contents);
            other.put(theirs);
        }
        for (number, ours) in &model {
            if other.get(&zone(*number)) != Some(ours) {
                expected.push(zone(*number));
            }
        }
        expected.sort();
        prop_assert_eq!(find(&inventory, &other).0, expected);
    }

    #[test]
    fn whatever_is_read_is_written_again_as_it_was(data in prop::collection::vec(any::<u8>(), 0..600)) {
        crate::fuzz::inventory(&data);
        // Most octets are nothing; so that some are something:
        let mut data = data;
        for (at, octet) in [FORM, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2].into_iter().enumerate() {
            if let Some(to) = data.get_mut(at) {
                *to = octet;
            }
        }
        crate::fuzz::inventory(&data);
    }
}
