use zonemesh_zone::record::parse_name;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn zone(name: &str) -> Name {
    parse_name(name).unwrap()
}

fn serials(sends: &[Send<&str>]) -> Vec<u32> {
    sends.iter().map(|send| send.serial.into_int()).collect()
}

#[test]
fn a_burst_costs_two_messages_and_the_last_serial_is_told() {
    let mut machine = Machine::new(Pace::default());
    machine.announce("b", zone("x"), Serial(1), at(0));
    assert_eq!(serials(&machine.due(at(0), 9)), [1]);
    for serial in 2..100 {
        machine.announce("b", zone("x"), Serial(serial), at(0));
    }
    assert!(machine.due(at(0), 9).is_empty(), "one at a time");
    machine.acknowledged(&"b", &zone("x"), at(1));
    assert_eq!(serials(&machine.due(at(1), 9)), [99]);
    machine.acknowledged(&"b", &zone("x"), at(2));
    assert!(machine.is_empty());
    assert_eq!(machine.next_due(), None);
}

#[test]
fn it_is_sent_again_with_growing_pauses_and_given_up() {
    let mut machine = Machine::new(Pace::default());
    machine.announce("b", zone("x"), Serial(1), at(0));
    let mut now = 0;
    for pause in [1, 2, 4, 8, 16, 32, 60] {
        assert_eq!(machine.due(at(now), 9).len(), 1);
        let failed = machine.failed(&"b", &zone("x"), at(now), 0);
        assert_eq!(failed, Failed::Again(at(now + pause)));
        assert!(machine.due(at(now + pause - 1), 9).is_empty());
        now += pause;
        assert_eq!(machine.next_due(), Some(at(now)));
    }
    assert_eq!(machine.due(at(now), 9)[0].attempt, 8);
    assert_eq!(machine.failed(&"b", &zone("x"), at(now), 0), Failed::GaveUp);
    assert!(machine.is_empty());
}

#[test]
fn a_new_serial_starts_anew_without_waiting_out_the_pause() {
    let mut machine = Machine::new(Pace::default());
    machine.announce("b", zone("x"), Serial(1), at(0));
    machine.due(at(0), 9);
    machine.failed(&"b", &zone("x"), at(0), 0);
    machine.announce("b", zone("x"), Serial(2), at(0));
    let sends = machine.due(at(0), 9);
    assert_eq!((sends[0].serial, sends[0].attempt), (Serial(2), 1));
    assert_eq!(machine.next_due(), None);
}

#[test]
fn a_peer_that_has_shown_the_serial_is_not_told() {
    let mut machine = Machine::new(Pace::default());
    machine.announce("b", zone("x"), Serial(5), at(0));
    machine.seen(&"b", &zone("x"), Serial(4));
    assert_eq!(machine.len(), 1);
    machine.seen(&"b", &zone("x"), Serial(6));
    assert!(machine.is_empty() && machine.due(at(0), 9).is_empty());
    // Also while it is under way.
    machine.announce("b", zone("x"), Serial(7), at(0));
    machine.due(at(0), 9);
    machine.seen(&"b", &zone("x"), Serial(7));
    assert_eq!(
        machine.failed(&"b", &zone("x"), at(1), 0),
        Failed::NotWanted
    );
}

#[test]
fn removed_peers_and_zones_are_forgotten_and_the_limit_is_kept() {
    let mut machine = Machine::new(Pace::default());
    for peer in ["b", "c"] {
        for name in ["x", "y", "z"] {
            machine.announce(peer, zone(name), Serial(1), at(0));
        }
    }
    machine.retain(|peer, name| *peer != "c" && *name != zone("y"));
    assert_eq!(machine.len(), 2);
    assert_eq!(machine.due(at(0), 1).len(), 1);
    assert_eq!(machine.due(at(0), 9).len(), 1);
}
