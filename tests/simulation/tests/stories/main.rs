//! Stories of a simulated mesh, and of single cores that are fed by hand.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

mod alike;
mod clocks;
mod cold;
mod cost;
mod disks;
mod emptied;
mod epochs;
mod faults;
mod founding;
mod handed;
mod held;
mod hostile;
mod jitter;
mod judged;
mod links;
mod machines;
mod membership;
mod promotion;
mod random;
mod replication;
mod restored;
mod serials;
mod single;
mod storms;
mod tied;
mod trouble;
mod twice;
mod unplanned;
mod waiting;
mod watch;
mod world;

use zonemesh_simulation::{Disks, World, timed_zone};

/// Three sites, of which `site-b` is the primary of a zone that may be served for a day.
fn three(seed: u64) -> World {
    three_on(Disks::Store, seed)
}

/// The same with other disks.
fn three_on(disks: Disks, seed: u64) -> World {
    let mut world = World::mesh_on(disks, seed, 3);
    let times = (60, 20, 86_400);
    world
        .add_zone("site-b", timed_zone("alpha.example", 1, times, &[]))
        .unwrap();
    world.settle(60);
    world
}
