//! Links that work by halves, and messages that come late, twice or in another order.

use zonemesh_simulation::*;

use super::three;

#[test]
fn a_site_whose_requests_are_lost_is_told_and_gets_the_news_from_others() {
    let mut world = three(120);
    world.cut_requests("site-c", "site-b");
    world.changed("site-b", put("alpha.example", "www", 1));
    // It hears the NOTIFY and cannot ask who sent it; the third has it.
    let got = |world: &World| world.serial("site-c", "alpha.example") == Some(2);
    world.run_until(30, "it has the change", got);
    world.heal_links();
    world.settle(60);
}

#[test]
fn requests_whose_answers_are_lost_take_effect_and_are_repeated_without_harm() {
    let mut world = three(121);
    world.cut_answers("site-c", "site-b");
    world.changed("site-b", put("alpha.example", "www", 1));
    // The NOTIFY arrived, so that it has it at once; who sent it does not know.
    world.run_for(2);
    assert_eq!(world.serial("site-c", "alpha.example"), Some(2));
    let before = world.hosts["site-b"].sent["notify"];
    world.run_for(60);
    let sent = world.hosts["site-b"].sent["notify"] - before;
    assert!((1..15).contains(&sent), "{sent} were sent again");
    world.heal_links();
    world.settle(60);
}

#[test]
fn links_that_flap_lose_no_change_and_cause_no_storm() {
    let mut world = three(122);
    let notified = world.hosts["site-b"].sent["notify"];
    let asked = world.hosts["site-c"].transfers.len();
    world.flap("site-b", "site-c", 1500, 100);
    for value in 1..=10 {
        world.changed("site-b", put("alpha.example", "www", value));
        world.run_for(30);
    }
    world.settle(120);
    assert!(has(
        world.zone("site-c", "alpha.example").unwrap(),
        "www",
        10
    ));
    let notified = world.hosts["site-b"].sent["notify"] - notified;
    let asked = world.hosts["site-c"].transfers.len() - asked;
    assert!(
        notified < 100,
        "{notified} NOTIFYs for 10 changes to 2 sites"
    );
    assert!(asked < 100, "{asked} transfers of 10 changes");
}

#[test]
fn messages_in_any_order_twice_and_ten_minutes_late_bring_nobody_back() {
    let mut world = three(123);
    world.net.overtaken = 300;
    world.net.duplicates = 300;
    world.net.stale = 1000;
    for value in 1..=60 {
        world.changed("site-b", put("alpha.example", "www", value));
        let pause = world.below(3000);
        world.run_millis(pause);
        if value % 20 == 0 {
            world.restart("site-c");
        }
    }
    world.run_for(700);
    world.settle(120);
    assert!(has(
        world.zone("site-c", "alpha.example").unwrap(),
        "www",
        60
    ));
    assert_eq!(world.serial("site-c", "alpha.example"), Some(61));
}
