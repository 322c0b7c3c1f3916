//! One core, fed by hand.

use std::time::Duration;
use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::{Serial, SerialExt, Zone};

/// A name server without a mesh, with zones of foreign servers or of its own, and what the start came to.
pub(super) struct Single {
    pub(super) core: Core,
    pub(super) now: Now,
}

impl Single {
    pub(super) fn new(zones: Vec<ZoneSpec>, held: Vec<Held>) -> (Self, Vec<Output>) {
        let now = Now {
            mono: Duration::from_secs(1),
            wall: EPOCH,
        };
        let settings = Settings {
            zones,
            ..Settings::default()
        };
        let (core, outputs) = Core::new(settings, held, 5, now);
        (Self { core, now }, outputs)
    }

    pub(super) fn handle(&mut self, input: Input) -> Vec<Output> {
        self.core.handle(input, self.now)
    }

    fn after(&mut self, seconds: u64) -> Vec<Output> {
        self.now.mono += Duration::from_secs(seconds);
        self.now.wall += seconds as i64;
        self.handle(Input::Tick)
    }

    fn change(&mut self, request: RequestId, change: Change) -> Vec<Output> {
        self.handle(Input::Change { request, change })
    }

    fn ended(&mut self, commit: CommitId, result: Result<(), &str>) -> Vec<Output> {
        let result = result.map_err(str::to_owned);
        self.handle(Input::Committed { commit, result })
    }

    fn transferred(&mut self, from: &str, got: Got) -> Vec<Output> {
        let from = PeerId::Foreign(from.into());
        self.handle(Input::Transferred {
            apex: name("alpha.example"),
            from,
            result: Ok(got),
            expire: None,
        })
    }

    fn failed(&mut self, from: &str, unreachable: bool) -> Vec<Output> {
        let from = PeerId::Foreign(from.into());
        let failure = Failure {
            message: "no".to_owned(),
            unreachable,
            lacks: !unreachable,
        };
        self.handle(Input::Transferred {
            apex: name("alpha.example"),
            from,
            result: Err(failure),
            expire: None,
        })
    }
}

/// A zone as the store of its primary has it.
pub fn held(zone: Zone) -> Held {
    Held {
        high_water: zone.serial(),
        zone,
        expires_at: None,
        last_refresh: None,
        hosted: false,
        made_here: false,
        doubt: None,
    }
}

fn commits(outputs: &[Output]) -> Vec<CommitId> {
    let commit = |output: &Output| match output {
        Output::Commit { commit, .. } => Some(*commit),
        _ => None,
    };
    outputs.iter().filter_map(commit).collect()
}

fn asked(outputs: &[Output]) -> Vec<(String, Option<u32>)> {
    let asked = |output: &Output| match output {
        Output::Transfer { from, have, .. } => Some((
            from.to_string(),
            have.as_ref().map(|zone| zone.serial().into_int()),
        )),
        _ => None,
    };
    outputs.iter().filter_map(asked).collect()
}

fn replies(outputs: &[Output]) -> Vec<(RequestId, Result<u32, ()>)> {
    let reply = |output: &Output| match output {
        Output::Reply {
            request,
            reply: Reply::Done { serial, .. },
        } => Some((*request, Ok(serial.into_int()))),
        Output::Reply {
            request,
            reply: Reply::Refused { .. },
        } => Some((*request, Err(()))),
        _ => None,
    };
    outputs.iter().filter_map(reply).collect()
}

fn primary() -> Single {
    let spec = ZoneSpec {
        mesh: false,
        ..own("alpha.example", &[])
    };
    let (mut single, outputs) = Single::new(vec![spec], vec![held(zone("alpha.example", 5, &[]))]);
    assert!(commits(&outputs).is_empty());
    single.after(1);
    single
}

#[test]
fn a_change_is_acknowledged_and_served_only_when_it_is_durable() {
    let mut single = primary();
    let outputs = single.change(1, put("alpha.example", "www", 1));
    assert!(replies(&outputs).is_empty());
    assert!(
        !outputs
            .iter()
            .any(|output| matches!(output, Output::Publish { .. }))
    );
    let outputs = single.ended(commits(&outputs)[0], Ok(()));
    assert_eq!(replies(&outputs), [(1, Ok(6))]);
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Publish { zone: Some(_), .. }))
    );
}

#[test]
fn a_change_that_another_has_made_already_is_acknowledged_together_with_that_one() {
    let mut single = primary();
    let commit = commits(&single.change(1, put("alpha.example", "www", 1)))[0];
    let outputs = single.change(2, put("alpha.example", "www", 1));
    assert!(replies(&outputs).is_empty(), "nothing is durable yet");
    assert_eq!(
        replies(&single.ended(commit, Err("disk full"))),
        [(1, Err(())), (2, Err(()))]
    );
    let commit = commits(&single.change(3, put("alpha.example", "www", 1)))[0];
    single.change(4, put("alpha.example", "www", 1));
    assert_eq!(
        replies(&single.ended(commit, Ok(()))),
        [(3, Ok(6)), (4, Ok(6))]
    );
    assert_eq!(
        replies(&single.change(5, put("alpha.example", "www", 1))),
        [(5, Ok(6))],
        "durable by now"
    );
}

#[test]
fn a_commit_that_fails_takes_back_what_was_made_of_it_and_nothing_else() {
    let mut single = primary();
    let first = commits(&single.change(1, put("alpha.example", "one", 1)))[0];
    let second = commits(&single.change(2, put("alpha.example", "two", 2)))[0];
    let outputs = single.ended(first, Err("disk full"));
    assert_eq!(replies(&outputs), [(1, Err(()))]);
    // The next change is made from what is served, without waiting for the second to fail as well.
    let third = commits(&single.change(3, put("alpha.example", "three", 3)))[0];
    let outputs = single.ended(second, Err("differences to another version"));
    assert_eq!(replies(&outputs), [(2, Err(()))]);
    let head = single.core.head(&name("alpha.example")).unwrap();
    assert!(has(head, "three", 3) && !has(head, "two", 2) && !has(head, "one", 1));
    assert_eq!(replies(&single.ended(third, Ok(()))), [(3, Ok(6))]);
    let fourth = commits(&single.change(4, put("alpha.example", "four", 4)))[0];
    assert!(has(
        single.core.head(&name("alpha.example")).unwrap(),
        "three",
        3
    ));
    assert_eq!(replies(&single.ended(fourth, Ok(()))), [(4, Ok(7))]);
}

#[test]
fn a_serial_that_somebody_chose_is_kept_when_it_is_great_enough() {
    let mut single = primary();
    let chosen = Change::Replace(zone("alpha.example", 2026, &["www 60 IN A 192.0.2.1"]));
    let commit = commits(&single.change(1, chosen))[0];
    assert_eq!(replies(&single.ended(commit, Ok(()))), [(1, Ok(2026))]);
    let lower = Change::Replace(zone("alpha.example", 7, &["www 60 IN A 192.0.2.2"]));
    let commit = commits(&single.change(2, lower))[0];
    assert_eq!(replies(&single.ended(commit, Ok(()))), [(2, Ok(2027))]);
    let same = Change::Replace(zone("alpha.example", 9, &["www 60 IN A 192.0.2.2"]));
    assert_eq!(
        replies(&single.change(3, same)),
        [(3, Ok(2027))],
        "nothing but the serial would differ"
    );
}

fn secondary(sources: &[&str]) -> (Single, Vec<Output>) {
    let sources = sources
        .iter()
        .map(|source| PeerId::Foreign((*source).into()))
        .collect();
    let spec = ZoneSpec {
        primary: false,
        mesh: false,
        sources,
        ..own("alpha.example", &[])
    };
    Single::new(vec![spec], vec![held(zone("alpha.example", 5, &[]))])
}

/// How long a source took to answer says nothing about the next one that is asked.
#[test]
fn a_source_that_grants_nothing_does_not_end_answers_because_others_were_asked_for_long_before_it()
{
    let (mut single, _) = secondary(&["one", "two", "three"]);
    assert_eq!(asked(&single.after(10)), [("one".to_owned(), Some(5))]);
    single.after(20);
    assert_eq!(asked(&single.failed("one", true))[0].0, "two");
    single.after(20);
    assert_eq!(asked(&single.failed("two", true))[0].0, "three");
    let outputs = single.handle(Input::Transferred {
        apex: name("alpha.example"),
        from: PeerId::Foreign("three".into()),
        result: Ok(Got::Full(zone("alpha.example", 6, &[]))),
        expire: Some(0),
    });
    let outputs = single.ended(commits(&outputs)[0], Ok(()));
    let published = outputs.iter().filter_map(|output| match output {
        Output::Publish { zone, .. } => Some(zone.as_ref().map(Zone::serial)),
        _ => None,
    });
    assert_eq!(published.collect::<Vec<_>>(), [Some(Serial(6))]);
}

#[test]
fn the_next_source_is_asked_when_the_first_fails() {
    let (mut single, outputs) = secondary(&["one", "two"]);
    assert!(asked(&outputs).is_empty());
    assert_eq!(asked(&single.after(1)), [("one".to_owned(), Some(5))]);
    assert_eq!(
        asked(&single.failed("one", true)),
        [("two".to_owned(), Some(5))]
    );
    let outputs = single.transferred("two", Got::Full(zone("alpha.example", 6, &[])));
    single.ended(commits(&outputs)[0], Ok(()));
    let view = single.core.zone(&name("alpha.example")).unwrap();
    assert_eq!(view.zone.unwrap().serial(), Serial(6));
    assert_eq!(view.source, Some(&PeerId::Foreign("two".into())));
    let errors: Vec<_> = view.errors.values().map(|error| error.at).collect();
    assert_eq!(errors, [EPOCH + 1], "the first is reported, and when");
}

#[test]
fn a_source_that_is_behind_never_rolls_back() {
    let (mut single, _) = secondary(&["one", "two"]);
    single.after(1);
    let outputs = single.transferred("one", Got::Full(zone("alpha.example", 4, &[])));
    assert_eq!(asked(&outputs), [("two".to_owned(), Some(5))]);
    let outputs = single.transferred("two", Got::UpToDate { serial: Serial(3) });
    assert!(commits(&outputs).is_empty());
    let view = single.core.zone(&name("alpha.example")).unwrap();
    assert_eq!(
        view.last_refresh, None,
        "a source that is behind confirms nothing"
    );
    assert!(
        view.errors
            .values()
            .all(|error| error.message.contains("behind 5")),
        "{:?}",
        view.errors
    );
}

#[test]
fn an_answer_of_a_source_that_is_not_asked_any_longer_changes_nothing() {
    let (mut single, _) = secondary(&["one", "two"]);
    single.after(1);
    single.failed("one", true);
    assert!(
        commits(&single.transferred("one", Got::Full(zone("alpha.example", 9, &[])))).is_empty()
    );
    let outputs = single.transferred("two", Got::Full(zone("alpha.example", 6, &[])));
    assert_eq!(
        commits(&outputs).len(),
        1,
        "the one that is asked is still listened to"
    );
}

#[test]
fn a_peer_without_news_is_believed_only_when_the_primary_cannot_be_asked() {
    let (mut single, _) = secondary(&["primary", "one", "two"]);
    single.after(1);
    assert_eq!(
        asked(&single.failed("primary", true)),
        [("one".to_owned(), Some(5))]
    );
    // "two" may have what the primary published last.
    let outputs = single.transferred("one", Got::UpToDate { serial: Serial(5) });
    assert_eq!(asked(&outputs), [("two".to_owned(), Some(5))]);
    single.transferred("two", Got::UpToDate { serial: Serial(5) });
    let view = single.core.zone(&name("alpha.example")).unwrap();
    assert_eq!(view.last_refresh, Some(single.now.wall));
}

#[test]
fn what_a_source_has_shown_is_asked_for_again_though_others_do_not_have_it() {
    let (mut single, _) = secondary(&["one", "two", "three"]);
    single.after(1);
    let others = |single: &mut Single| {
        single.transferred("two", Got::UpToDate { serial: Serial(5) });
        single.transferred("three", Got::UpToDate { serial: Serial(5) });
    };
    single.transferred("one", Got::UpToDate { serial: Serial(5) });
    others(&mut single);
    single.after(10);
    single.handle(Input::Notify {
        apex: name("alpha.example"),
        serial: Some(Serial(6)),
        from: PeerId::Foreign("one".into()),
    });
    single.failed("one", true);
    others(&mut single);
    // Within a minute, although the times of the zone are far longer; what the others give is good until then.
    let view = single.core.zone(&name("alpha.example")).unwrap();
    assert_eq!(view.last_refresh, Some(single.now.wall));
    assert_eq!(asked(&single.after(66)), [("one".to_owned(), Some(5))]);
}

#[test]
fn of_several_foreign_primaries_the_freshest_is_found_whichever_comes_first() {
    for sources in [
        ["old", "middle", "new"],
        ["new", "old", "middle"],
        ["middle", "new", "old"],
    ] {
        let (mut single, _) = secondary(&sources);
        let mut outputs = single.after(1);
        let mut questions = 0;
        // Each gives what it has, until nobody is asked any more.
        while let Some((source, have)) = asked(&outputs).pop() {
            questions += 1;
            assert!(questions < 20, "{sources:?}");
            let has = match source.as_str() {
                "new" => 9,
                "middle" => 7,
                _ => 5,
            };
            let got = match have.is_some_and(|have| have >= has) {
                true => Got::UpToDate {
                    serial: Serial(has),
                },
                false => Got::Full(zone("alpha.example", has, &[])),
            };
            outputs = single.transferred(&source, got);
            if let Some(commit) = commits(&outputs).pop() {
                outputs = single.ended(commit, Ok(()));
            }
        }
        let view = single.core.zone(&name("alpha.example")).unwrap();
        assert_eq!(view.zone.unwrap().serial(), Serial(9), "{sources:?}");
        assert_eq!(view.last_refresh, Some(single.now.wall));
        // And that is all until the zone's own times say so.
        assert!(asked(&single.after(60)).is_empty());
    }
}

#[test]
fn a_newer_version_of_a_peer_is_not_enough_when_the_primary_has_shown_a_newer_one_still() {
    let (mut single, _) = secondary(&["one", "two"]);
    single.after(1);
    single.handle(Input::Notify {
        apex: name("alpha.example"),
        serial: Some(Serial(7)),
        from: PeerId::Foreign("one".into()),
    });
    single.failed("one", true);
    let outputs = single.transferred("two", Got::Full(zone("alpha.example", 6, &[])));
    // The NOTIFY came while a source was asked: it is asked at once, and again in a minute when that fails too.
    let outputs = single.ended(commits(&outputs)[0], Ok(()));
    assert_eq!(asked(&outputs), [("one".to_owned(), Some(6))]);
    single.failed("one", true);
    single.transferred("two", Got::UpToDate { serial: Serial(6) });
    assert_eq!(asked(&single.after(66)), [("one".to_owned(), Some(6))]);
}

#[test]
fn another_primary_is_asked_at_once() {
    let (mut single, _) = secondary(&["one"]);
    single.after(1);
    single.transferred("one", Got::UpToDate { serial: Serial(5) });
    let sources = |names: &[&str]| {
        let source = |name: &&str| PeerId::Foreign((*name).into());
        let spec = ZoneSpec {
            primary: false,
            mesh: false,
            sources: names.iter().map(source).collect(),
            ..own("alpha.example", &[])
        };
        Settings {
            zones: vec![spec],
            ..Settings::default()
        }
    };
    let outputs = single.core.configure(sources(&["one", "two"]), single.now);
    assert!(asked(&outputs).is_empty(), "one more to fall back on");
    let outputs = single.core.configure(sources(&["two", "one"]), single.now);
    assert_eq!(asked(&outputs), [("two".to_owned(), Some(5))]);
}

#[test]
fn a_notify_during_a_transfer_is_not_missed() {
    let (mut single, _) = secondary(&["one"]);
    assert_eq!(asked(&single.after(1)).len(), 1);
    let notify = |serial| Input::Notify {
        apex: name("alpha.example"),
        serial: Some(Serial(serial)),
        from: PeerId::Foreign("one".into()),
    };
    assert!(asked(&single.handle(notify(7))).is_empty(), "one at a time");
    let outputs = single.transferred("one", Got::Full(zone("alpha.example", 6, &[])));
    assert!(
        asked(&single.handle(notify(8))).is_empty(),
        "nor while it is committed"
    );
    let outputs = single.ended(commits(&outputs)[0], Ok(()));
    assert_eq!(asked(&outputs), [("one".to_owned(), Some(6))]);
    assert!(asked(&single.transferred("one", Got::Full(zone("alpha.example", 8, &[])))).is_empty());
}

#[test]
fn a_transfer_that_cannot_be_stored_is_tried_again_and_the_old_version_serves() {
    let (mut single, _) = secondary(&["one"]);
    single.after(1);
    let outputs = single.transferred("one", Got::Full(zone("alpha.example", 6, &[])));
    let outputs = single.ended(commits(&outputs)[0], Err("disk full"));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Happened(Happening::CommitFailed { .. })))
    );
    assert_eq!(
        single
            .core
            .zone(&name("alpha.example"))
            .unwrap()
            .zone
            .unwrap()
            .serial(),
        Serial(5)
    );
    assert_eq!(asked(&single.after(2)), [("one".to_owned(), Some(5))]);
}

/// Whether the pauses at the end, which are all as long as they become, differ from each other.
fn are_uneven(gaps: &[u128]) -> bool {
    let last = &gaps[gaps.len() - 10..];
    last.iter().any(|gap| *gap != last[0])
}

#[test]
fn failed_transfers_are_repeated_within_floor_and_retry() {
    let (mut single, _) = secondary(&["one"]);
    let mut gaps = Vec::new();
    let mut before = single.now.mono;
    for _ in 0..80 {
        let due = single.core.next_due();
        single.now.mono = due;
        let outputs = single.handle(Input::Tick);
        if asked(&outputs).is_empty() {
            continue;
        }
        gaps.push(due.saturating_sub(before).as_millis());
        before = due;
        single.failed("one", true);
    }
    assert!(
        gaps[1..].iter().all(|gap| (1000..=66_000).contains(gap)),
        "{gaps:?}"
    );
    assert!(
        gaps[gaps.len() - 1] >= 60_000,
        "it backs off to the SOA's retry: {gaps:?}"
    );
    assert!(are_uneven(&gaps), "not in step with others: {gaps:?}");
}

#[test]
fn notifies_that_are_not_answered_are_repeated_within_floor_and_cap() {
    let notify = PeerId::Foreign("off-site".into());
    let spec = ZoneSpec {
        mesh: false,
        notify: vec![notify.clone()].into(),
        ..own("alpha.example", &[])
    };
    let (mut single, mut outputs) =
        Single::new(vec![spec], vec![held(zone("alpha.example", 5, &[]))]);
    let (mut gaps, mut before) = (Vec::new(), single.now.mono);
    for _ in 0..120 {
        let sent = outputs
            .iter()
            .filter(|output| matches!(output, Output::Notify { .. }))
            .count();
        if sent > 0 {
            assert_eq!(sent, 1);
            gaps.push(single.now.mono.saturating_sub(before).as_millis());
            before = single.now.mono;
            let result = Err(Failure {
                message: "silence".to_owned(),
                unreachable: true,
                lacks: false,
            });
            let told = Input::Notified {
                to: notify.clone(),
                apex: name("alpha.example"),
                serial: Serial(5),
                result,
            };
            single.handle(told);
        }
        single.now.mono = single.core.next_due();
        outputs = single.handle(Input::Tick);
    }
    assert!(gaps.len() >= 8, "{gaps:?}");
    assert!(
        gaps[1..].iter().all(|gap| (1000..=76_000).contains(gap)),
        "{gaps:?}"
    );
    assert!(gaps[gaps.len() - 1] >= 60_000, "{gaps:?}");
    assert!(are_uneven(&gaps), "not in step with others: {gaps:?}");
}

#[test]
fn a_notify_that_is_owed_anew_goes_out_at_once_when_the_old_one_is_answered() {
    let notify = PeerId::Foreign("off-site".into());
    let spec = ZoneSpec {
        mesh: false,
        notify: vec![notify.clone()].into(),
        ..own("alpha.example", &[])
    };
    let (mut single, _) = Single::new(vec![spec], vec![held(zone("alpha.example", 5, &[]))]);
    let commit = commits(&single.change(1, put("alpha.example", "www", 1)))[0];
    let told = |serial| Input::Notified {
        to: notify.clone(),
        apex: name("alpha.example"),
        serial: Serial(serial),
        result: Ok(()),
    };
    let sent = |outputs: &[Output]| -> Vec<u32> {
        let serial = |output: &Output| match output {
            Output::Notify { serial, .. } => Some(serial.into_int()),
            _ => None,
        };
        outputs.iter().filter_map(serial).collect()
    };
    assert!(
        sent(&single.ended(commit, Ok(()))).is_empty(),
        "one at a time"
    );
    assert_eq!(sent(&single.handle(told(5))), [6]);
    assert!(sent(&single.handle(told(6))).is_empty());
    assert!(
        sent(&single.handle(told(6))).is_empty(),
        "an answer that comes twice"
    );
}

#[test]
fn zones_expire_on_time_also_while_no_source_answers_at_all() {
    let (mut single, _) = secondary(&["one"]);
    single.after(1);
    single.transferred("one", Got::UpToDate { serial: Serial(5) });
    let outputs = single.after(310);
    assert_eq!(asked(&outputs).len(), 1, "this question is never answered");
    let happened = |outputs: &[Output], what: &Happening| {
        outputs
            .iter()
            .any(|output| matches!(output, Output::Happened(happened) if happened == what))
    };
    let half = Happening::HalfExpired(name("alpha.example"));
    assert!(happened(&single.after(3600 - 310), &half));
    assert!(!happened(&single.after(1), &half), "told once");
    let outputs = single.after(3600);
    let expired = Happening::Expired(name("alpha.example"));
    assert!(!happened(&outputs, &expired), "a last attempt comes first");
    let outputs = single.after(30);
    assert!(happened(&outputs, &expired));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Publish { zone: None, .. }))
    );
    let outputs = single.transferred("one", Got::UpToDate { serial: Serial(5) });
    assert!(happened(
        &outputs,
        &Happening::Healed(name("alpha.example"))
    ));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Publish { zone: Some(_), .. }))
    );
}

#[test]
fn a_clock_that_is_set_forward_expires_nothing_while_a_source_answers() {
    let (mut single, _) = secondary(&["one"]);
    single.after(1);
    single.transferred("one", Got::UpToDate { serial: Serial(5) });
    single.now.wall += 40 * 86_400;
    // The question that is due anyway: the wall clock is looked at then.
    let outputs = single.after(310);
    assert_eq!(asked(&outputs).len(), 1);
    let expired = |output: &Output| matches!(output, Output::Happened(Happening::Expired(_)));
    assert!(!outputs.iter().any(expired));
    let outputs = single.transferred("one", Got::UpToDate { serial: Serial(5) });
    assert!(!outputs.iter().any(expired));
    assert!(!single.after(60).iter().any(expired));
}

#[test]
fn a_zone_that_expired_while_the_site_was_down_is_not_served_until_it_is_confirmed() {
    let spec = ZoneSpec {
        primary: false,
        mesh: false,
        sources: vec![PeerId::Foreign("one".into())].into(),
        ..own("alpha.example", &[])
    };
    let old = Held {
        expires_at: Some(EPOCH - 1),
        ..held(zone("alpha.example", 5, &[]))
    };
    let (mut single, outputs) = Single::new(vec![spec], vec![old]);
    assert!(
        outputs
            .iter()
            .all(|output| !matches!(output, Output::Publish { zone: Some(_), .. }))
    );
    single.after(1);
    let outputs = single.transferred("one", Got::UpToDate { serial: Serial(5) });
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Publish { zone: Some(_), .. }))
    );
}

#[test]
fn a_primary_that_becomes_secondary_and_back_keeps_what_it_has() {
    let (mut single, _) = secondary(&["one"]);
    single.after(1);
    let as_primary = Settings {
        zones: vec![ZoneSpec {
            mesh: false,
            ..own("alpha.example", &[])
        }],
        ..Settings::default()
    };
    let as_secondary = Settings {
        zones: vec![ZoneSpec {
            primary: false,
            mesh: false,
            sources: vec![PeerId::Foreign("two".into())].into(),
            ..own("alpha.example", &[])
        }],
        ..Settings::default()
    };
    single.core.configure(as_primary.clone(), single.now);
    // The answer to what was asked as a secondary is of no use now.
    assert!(
        commits(&single.transferred("one", Got::Full(zone("alpha.example", 9, &[])))).is_empty()
    );
    let commit = commits(&single.change(1, put("alpha.example", "www", 1)))[0];
    assert_eq!(replies(&single.ended(commit, Ok(()))), [(1, Ok(6))]);
    assert_eq!(
        single.core.zone(&name("alpha.example")).unwrap().until,
        None
    );
    let outputs = single.core.configure(as_secondary, single.now);
    assert_eq!(asked(&outputs), [("two".to_owned(), Some(6))]);
    let until = single.core.zone(&name("alpha.example")).unwrap().until;
    assert_eq!(
        until,
        Some(single.now.mono + Duration::from_secs(7200)),
        "a secondary's copy does not live for ever"
    );
    single.transferred("two", Got::UpToDate { serial: Serial(6) });
    single.core.configure(as_primary, single.now);
    let view = single.core.zone(&name("alpha.example")).unwrap();
    assert_eq!((view.zone.unwrap().serial(), view.until), (Serial(6), None));
}

#[test]
fn a_step_that_a_primary_has_only_announced_is_not_what_its_successor_goes_by() {
    let (mut single, _) = secondary(&["one"]);
    single.after(1);
    let outputs = single.transferred("one", Got::Full(zone("alpha.example", 6, &[])));
    single.ended(commits(&outputs)[0], Ok(()));
    let far = Serial(6).add((1 << 31) - 1024);
    single.handle(Input::Notify {
        apex: name("alpha.example"),
        serial: Some(far),
        from: PeerId::Foreign("one".into()),
    });
    let as_primary = Settings {
        zones: vec![ZoneSpec {
            mesh: false,
            ..own("alpha.example", &[])
        }],
        ..Settings::default()
    };
    single.core.configure(as_primary, single.now);
    single.change(1, put("alpha.example", "www", 1));
    let made = single.core.head(&name("alpha.example")).unwrap().serial();
    assert!(made.is_after(Serial(6)), "{made}");
}

#[test]
fn what_the_store_was_told_of_a_peer_that_is_ahead_counts_also_when_the_version_above_it_was_not_stored()
 {
    let mut single = primary();
    let shows = |single: &mut Single, serial: u32| {
        single.handle(Input::Notify {
            apex: name("alpha.example"),
            serial: Some(Serial(serial)),
            from: PeerId::Foreign("ns3".into()),
        })
    };
    let outputs = shows(&mut single, 100);
    single.ended(commits(&outputs)[0], Err("the disk is full"));
    // The peer is set back meanwhile.
    shows(&mut single, 1);
    let outputs = single.change(1, put("alpha.example", "www", 1));
    let made = single.core.head(&name("alpha.example")).unwrap().serial();
    assert!(made.is_after(Serial(100)), "{made}");
    assert_eq!(commits(&outputs).len(), 1);
}
