//! What is tried again: sites that failed at the same moment do not try at the same moment, nor sooner than they may.

use std::collections::BTreeSet;
use std::time::Duration;

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;

use super::single::held;

const ZONE: &str = "alpha.example";

/// How many cores are compared, which differ in what their jitter is drawn from alone.
const CORES: u64 = 8;

fn peer() -> PeerId {
    PeerId::Foreign("ns".into())
}

fn refused() -> Failure {
    Failure {
        message: "no".to_owned(),
        unreachable: false,
        lacks: false,
    }
}

struct Fed {
    core: Core,
    now: Now,
}

impl Fed {
    fn new(spec: ZoneSpec, seed: u64) -> (Self, Vec<Output>) {
        let now = Now {
            mono: Duration::from_secs(1),
            wall: EPOCH,
        };
        let settings = Settings {
            zones: vec![spec],
            ..Settings::default()
        };
        // The second draw of neighbouring seeds is what differs well.
        let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let zones = vec![held(timed_zone(ZONE, 5, (3600, 600, 86_400), &[]))];
        let (core, outputs) = Core::new(settings, zones, seed, now);
        (Self { core, now }, outputs)
    }

    /// How long it is until something is done, and what else is done then.
    fn until(&mut self, done: fn(&Output) -> bool) -> Duration {
        let began = self.now.mono;
        for _ in 0..1000 {
            self.now.mono = self.core.next_due().max(self.now.mono);
            if self.core.handle(Input::Tick, self.now).iter().any(done) {
                return self.now.mono - began;
            }
        }
        panic!("it was never done");
    }
}

/// The pauses before a second, third and fourth try, each of all cores.
fn pauses(
    spec: &ZoneSpec,
    done: fn(&Output) -> bool,
    failed: impl Fn(&mut Fed),
) -> [BTreeSet<Duration>; 3] {
    let mut pauses = [const { BTreeSet::new() }; 3];
    for seed in 1..=CORES {
        let (mut fed, outputs) = Fed::new(spec.clone(), seed);
        if !outputs.iter().any(done) {
            fed.until(done);
        }
        for pauses in &mut pauses {
            failed(&mut fed);
            pauses.insert(fed.until(done));
        }
    }
    pauses
}

/// Each is its base or longer by this part at most, and they are not all the same.
fn assert_spread(pauses: &[BTreeSet<Duration>; 3], most: f64) {
    for (pauses, base) in pauses.iter().zip([1, 2, 4].map(Duration::from_secs)) {
        let within = |pause: &Duration| (base..=base.mul_f64(1.0 + most)).contains(pause);
        assert!(pauses.iter().all(within), "{base:?}: {pauses:?}");
        assert!(pauses.len() as u64 > CORES / 2, "{base:?}: {pauses:?}");
    }
}

#[test]
fn a_notify_that_was_not_answered_is_repeated_by_each_site_at_a_moment_of_its_own() {
    let spec = ZoneSpec {
        mesh: false,
        notify: vec![peer()].into(),
        ..own(ZONE, &[])
    };
    let is_notify = |output: &Output| matches!(output, Output::Notify { .. });
    let pauses = pauses(&spec, is_notify, |fed| {
        let (to, apex) = (peer(), name(ZONE));
        let serial = fed.core.head(&apex).unwrap().serial();
        let result = Err(refused());
        let input = Input::Notified {
            to,
            apex,
            serial,
            result,
        };
        fed.core.handle(input, fed.now);
    });
    assert_spread(&pauses, 0.25);
}

#[test]
fn a_transfer_that_failed_is_tried_again_by_each_site_at_a_moment_of_its_own() {
    let spec = ZoneSpec {
        mesh: false,
        primary: false,
        sources: vec![peer()].into(),
        ..own(ZONE, &[])
    };
    let is_transfer = |output: &Output| matches!(output, Output::Transfer { .. });
    let pauses = pauses(&spec, is_transfer, |fed| {
        let input = Input::Transferred {
            apex: name(ZONE),
            from: peer(),
            result: Err(refused()),
            expire: None,
        };
        fed.core.handle(input, fed.now);
    });
    assert_spread(&pauses, 0.1);
}
