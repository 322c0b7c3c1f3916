//! Random histories: whatever happened, all promises hold. Many more are run by `cargo xtask simulate`.

use zonemesh_simulation::history::{Options, run};
use zonemesh_simulation::text;

#[test]
fn random_histories_keep_all_promises() {
    for seed in 1..=6 {
        let options = Options::new(5, seed);
        let outcome = run(&options);
        assert!(
            outcome.finding.is_none(),
            "{}",
            text::failure(&options, &outcome, false)
        );
        assert!(outcome.acts.len() > 10, "much happens in a history");
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let options = Options {
        steps: 40,
        ..Options::new(4, 7)
    };
    let (one, other) = (run(&options), run(&options));
    assert!(one.log.len() > 100, "there is something to compare");
    assert_eq!(one.log, other.log);
    let elsewhere = run(&Options { seed: 8, ..options });
    assert_ne!(one.log, elsewhere.log, "another seed is another history");
}

#[test]
fn numbers_of_steps_are_read_as_they_are_written() {
    let steps = text::read_steps("3,7-9,12").expect("numbers of steps");
    assert_eq!(text::write_steps(&steps), "3,7-9,12");
    assert!(text::read_steps("3,x").is_err());
}
