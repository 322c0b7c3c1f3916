//! Everything that can happen to machines, links and disks at once, with the real store under each site.

use std::collections::BTreeMap;

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;

const SITES: [&str; 4] = ["site-a", "site-b", "site-c", "site-d"];

/// Changes of one zone each at its site: what was asked for, and what of it was acknowledged.
#[derive(Default)]
struct Changes {
    open: Vec<(usize, RequestId, u8)>,
    /// The last acknowledged value of each zone, and what was asked for since and may have come to pass.
    last: BTreeMap<usize, (u8, Vec<u8>)>,
}

impl Changes {
    fn look(&mut self, world: &World) {
        for (number, request, value) in std::mem::take(&mut self.open) {
            let host = &world.hosts[SITES[number]];
            let last = self.last.entry(number).or_default();
            match host.replies.get(&request).map(|replies| &replies[0]) {
                Some(Reply::Done { .. }) => *last = (value, Vec::new()),
                Some(_) => {}
                None if host.core.is_some() => self.open.push((number, request, value)),
                None => last.1.push(value),
            }
        }
    }
}

fn step(world: &mut World, changes: &mut Changes, value: u8) {
    let number = world.below(4) as usize;
    let (host, other) = (SITES[number], SITES[world.below(4) as usize]);
    let runs = world.hosts[host].core.is_some();
    match world.below(24) {
        0..=5 if runs && !world.hangs(host) => {
            let request = world.change(host, put(&format!("z{number}.example"), "www", value));
            changes.open.push((number, request, value));
        }
        6 => world.hang(host),
        7 | 8 => SITES.iter().for_each(|host| world.resume(host)),
        9 => {
            let factor = 1 + world.below(30) as u32;
            world.slow(host, factor);
        }
        10 => world.cut_requests(host, other),
        11 => world.cut_answers(host, other),
        12 => world.flap(host, other, 700, 10),
        13 | 14 => world.heal_links(),
        15 => world.fill_disk(host),
        16 => world.hang_disk(host),
        17 | 18 => world.heal_disk(host),
        19 if runs => {
            let operations = 1 + world.below(40);
            world.power_cut_on_disk(host, operations);
        }
        20 => world.power_cut(&[host, other]),
        21 if runs => world.kill(host),
        22 => {
            let seconds = world.below(7200) as i64 - 3600;
            world.jump_clock(host, seconds);
        }
        _ => {
            for host in SITES {
                if world.hosts[host].core.is_none() {
                    world.start(host);
                }
            }
        }
    }
    let pause = world.below(5000);
    world.run_millis(pause);
    changes.look(world);
}

#[test]
fn whatever_happens_to_machines_links_and_disks_nothing_acknowledged_is_lost() {
    for seed in 0..12 {
        println!("seed {seed}");
        let mut world = World::mesh(600 + seed, SITES.len());
        for (number, host) in SITES.into_iter().enumerate() {
            let first = timed_zone(&format!("z{number}.example"), 1, (60, 20, 86_400), &[]);
            world.add_zone(host, first).unwrap();
        }
        world.settle(60);
        let mut changes = Changes::default();
        for value in 1..=120 {
            step(&mut world, &mut changes, value);
        }
        world.end_faults();
        for host in SITES {
            if world.hosts[host].core.is_none() {
                assert!(world.start(host), "{}", world.tail());
            }
        }
        world.run_for(20);
        changes.look(&world);
        world.settle(240);
        for (number, (value, unsure)) in &changes.last {
            for host in SITES {
                let served = world.zone(host, &format!("z{number}.example")).unwrap();
                let fine = has(served, "www", *value)
                    || unsure.iter().any(|value| has(served, "www", *value))
                    || *value == 0;
                assert!(fine, "{host}: z{number} has not {value}\n{}", world.tail());
            }
        }
    }
}
