//! Stories of a simulated mesh, and of single cores that are fed by hand.

mod clocks;
mod cold;
mod disks;
mod emptied;
mod faults;
mod founding;
mod links;
mod machines;
mod membership;
mod promotion;
mod random;
mod replication;
mod restored;
mod single;
mod storms;
mod world;

use zonemesh_simulation::{World, timed_zone};

/// Three sites, of which `site-b` is the primary of a zone that may be served for a day.
fn three(seed: u64) -> World {
    let mut world = World::mesh(seed, 3);
    let times = (60, 20, 86_400);
    world
        .add_zone("site-b", timed_zone("alpha.example", 1, times, &[]))
        .unwrap();
    world.settle(60);
    world
}
