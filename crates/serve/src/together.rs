//! Reading the questions of a batch, and going down to their names side by side where that is worth its while: in large zones and among
//! many zones, of which most are in none of the processor's caches when they are asked for.

use zonemesh_zone::tree::{Way, go_together};
use zonemesh_zone::{Node, Sought, Zone};

use crate::answer::Workspace;
use crate::message::{HEADER, wire_name_len};
use crate::zoneset::ZoneSet;

/// Messages of a batch, a bit each.
pub(crate) type Bits = u64;

/// Reads the names of the questions of a batch into the workspaces, each of which is for the message at its place, and has the ways to
/// them in the caches. Returns which of them were read, the first in the lowest bit.
pub(crate) fn look_ahead<'m>(
    zones: &ZoneSet,
    messages: impl Iterator<Item = &'m [u8]>,
    workspaces: &mut [Workspace],
) -> Bits {
    let are_many = zones.len() > MANY;
    if !are_many && !zones.has_large() {
        return 0;
    }
    let mut read = 0;
    for (at, (message, workspace)) in messages.zip(workspaces.iter_mut()).enumerate() {
        let Some(rest) = message.get(HEADER..) else {
            continue;
        };
        if let Some(len) = wire_name_len(rest) {
            workspace.question.set(&rest[..len]);
            read |= 1 << at;
        }
    }
    let is_read = |at: usize| read >> at & 1 == 1;
    let soughts = || {
        let read = workspaces.iter().enumerate().filter(|(at, _)| is_read(*at));
        read.map(|(_, workspace)| &workspace.question)
    };
    if are_many {
        go_together(&mut soughts().filter_map(|sought| zones.way(sought)).collect());
    }
    let names = soughts().filter_map(|sought| way(zones, sought, are_many));
    go_together(&mut names.collect());
    read
}

/// The way to a name in its zone, if that is a large one or one of many.
fn way<'z, 's>(
    zones: &'z ZoneSet,
    sought: &'s Sought,
    is_one_of_many: bool,
) -> Option<Way<'z, 's, Node>> {
    let zone = zones.closest(sought)?.zone.as_ref()?;
    let is_cold = is_one_of_many || is_large(zone);
    is_cold.then(|| zone.tree().way(sought)).flatten()
}

/// More zones than this are not in the caches of a processor all the time.
const MANY: usize = 2_000;

/// Whether a zone has so many names that they are not in the caches of a processor all the time.
pub(crate) fn is_large(zone: &Zone) -> bool {
    zone.node_count() > 20_000
}

#[cfg(test)]
mod tests {
    use zonemesh_testkit::query;
    use zonemesh_zone::record::parse_name;
    use zonemesh_zone::{Editor, Record};

    use super::*;
    use crate::answer::{answer, answer_read};
    use crate::handler::{Client, Transport};
    use crate::zoneset::{Served, Shared};
    use crate::{Moment, Outcome};

    fn large_zone() -> Zone {
        let apex = parse_name("example").unwrap();
        let mut editor = Editor::new(apex.clone());
        let mut add = |text: &str| editor.add(Record::from_text(text, &apex).unwrap()).unwrap();
        add("@ 60 SOA ns root 1 2 3 4 5");
        add("@ 60 NS ns");
        add("*.wild 60 TXT wild");
        add("alias 60 CNAME n7");
        for number in 0..20_001 {
            add(&format!("n{number} 60 A 192.0.2.1"));
        }
        editor.finish().unwrap()
    }

    fn ask(name: &str) -> Vec<u8> {
        query::question(name, query::qtype::A)
    }

    /// Has messages answered after they were looked ahead for, and alone, which must be the same.
    fn alike(shared: &Shared, messages: &[Vec<u8>]) {
        let client = Client {
            addr: ([192, 0, 2, 1], 53).into(),
            transport: Transport::Udp,
            pin: None,
        };
        let mut workspaces = vec![Workspace::default(); messages.len()];
        shared.view(Moment::default(), |view| {
            // The second time there are other names in the workspaces.
            for turn in 0..2 {
                let turned = || messages.iter().cycle().skip(turn).take(messages.len());
                let read = look_ahead(view.zones, turned().map(Vec::as_slice), &mut workspaces);
                assert!(read.count_ones() >= 8);
                for (at, message) in turned().enumerate() {
                    let (mut ahead, mut alone) = (Vec::new(), Vec::new());
                    let is_read = read >> at & 1 == 1;
                    let workspace = &mut workspaces[at];
                    let (outcome, _) =
                        answer_read(workspace, is_read, message, &client, view, &mut ahead);
                    assert_eq!(outcome, answer(message, &client, view, &mut alone));
                    if outcome == Outcome::Reply {
                        assert_eq!(ahead, alone, "{message:?}");
                    }
                }
            }
        });
    }

    #[test]
    fn what_was_looked_ahead_for_is_answered_as_what_was_not() {
        let shared = Shared::new();
        shared.set_ready(true);
        shared.update_zones(|zones| {
            zones
                .with(Served::new(large_zone()))
                .with(Served::new(small_zone("other")))
        });
        let whole = ask("n19999.example.");
        let cookie = [
            &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
            &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let messages = [
            ask("N7.Example."),
            ask("nothing.example."),
            ask("x.wild.example."),
            ask("alias.example."),
            ask("www.other."),
            ask("elsewhere."),
            ask("."),
            whole[..whole.len() - 5].to_vec(),
            whole[..14].to_vec(),
            vec![0; 12],
            vec![],
            cookie,
            whole,
        ];
        alike(&shared, &messages);
        let few = shared.zones.load().without(&parse_name("example").unwrap());
        let mut workspaces = vec![Workspace::default(); messages.len()];
        let messages = messages.iter().map(Vec::as_slice);
        assert_eq!(look_ahead(&few, messages, &mut workspaces), 0);
    }

    #[test]
    fn among_many_zones_each_name_is_answered_from_its_own() {
        let shared = Shared::new();
        shared.set_ready(true);
        let names: Vec<String> = (0..=MANY).map(|number| format!("z{number}")).collect();
        shared.update_zones(|_| {
            names
                .iter()
                .map(|name| Served::new(small_zone(name)))
                .collect()
        });
        let messages: Vec<Vec<u8>> = (0..60)
            .map(|number| match number % 3 {
                0 => ask(&format!("www.z{number}.")),
                1 => ask(&format!("nothing.Z{number}.")),
                _ => ask(&format!("elsewhere{number}.")),
            })
            .collect();
        alike(&shared, &messages);
    }

    fn small_zone(name: &str) -> Zone {
        let apex = parse_name(name).unwrap();
        let mut editor = Editor::new(apex.clone());
        for text in [
            "@ 60 SOA ns root 1 2 3 4 5",
            "@ 60 NS ns",
            "www 60 A 192.0.2.2",
        ] {
            editor.add(Record::from_text(text, &apex).unwrap()).unwrap();
        }
        editor.finish().unwrap()
    }
}
