use super::*;
use crate::brake::Breaker;
use crate::desired::{Local, Source, desired, notify, sources};
use crate::verify::{self, Facts, Fault};
use proptest::prelude::*;
use zonemesh_zone::catalog::{Catalog, Member};
use zonemesh_zone::directory::{Directory, Epoch, KeyPin, Removed, Role, Schema, Site};
use zonemesh_zone::record::parse_name;

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn site_name(text: &str) -> SiteName {
    SiteName::new(text).unwrap()
}

fn site(text: &str, key: u8) -> Site {
    Site {
        name: site_name(text),
        addresses: vec![std::net::Ipv4Addr::new(192, 0, 2, key).into()],
        dot: Some(853),
        doq: None,
        dns: None,
        pins: vec![KeyPin([key; 32])],
        role: Role::Standard,
        engine: "zonemesh/0.1.0".into(),
        failure_domain: None,
    }
}

/// Directory and catalog of a mesh in which `site-a` is the catalog primary.
#[derive(Clone, Debug)]
struct World {
    me: SiteName,
    directory: Source<Directory>,
    catalog: Source<Catalog>,
    local: Local,
    observed: Observed,
    approvals: Approvals,
}

impl World {
    /// Of sites `site-a`, `site-b`, …; each zone is `z<n>.example` with the letter of its primary.
    fn new(me: &str, sites: &str, zones: &[(&str, char)]) -> Self {
        let mut world = Self {
            me: site_name(me),
            directory: Source::Missing("not yet".into()),
            catalog: Source::Missing("not yet".into()),
            local: Local {
                directory: name("dns.internal"),
                catalog: name("catalog.dns.internal"),
                own: BTreeSet::new(),
            },
            observed: Observed::default(),
            approvals: Approvals::new(),
        };
        world.publish(1, sites, zones);
        world
    }

    fn publish(&mut self, serial: u32, sites: &str, zones: &[(&str, char)]) {
        let sites: BTreeMap<_, _> = sites
            .bytes()
            .map(|letter| {
                let mut site = site(&format!("site-{}", letter as char), letter);
                if letter == b'a' {
                    site.role = Role::CatalogPrimary;
                }
                (site.name.clone(), site)
            })
            .collect();
        let directory = Directory {
            apex: name("dns.internal"),
            schema: Schema::V1,
            epoch: Epoch::default(),
            sites,
            owners: zones
                .iter()
                .map(|(zone, letter)| (name(zone), site_name(&format!("site-{letter}"))))
                .collect(),
            removed: BTreeMap::new(),
            gone: BTreeMap::new(),
            findings: Vec::new(),
        };
        let members = zones.iter().map(|(zone, _)| {
            let label = zone.replace('.', "-");
            let member = Member {
                node: name(&format!("{label}.zones.catalog.dns.internal")),
                groups: Vec::new(),
                coo: None,
            };
            (name(zone), member)
        });
        let catalog = Catalog {
            apex: name("catalog.dns.internal"),
            members: members.collect(),
        };
        self.directory = Source::Read {
            value: directory,
            serial,
        };
        self.catalog = Source::Read {
            value: catalog,
            serial,
        };
    }

    fn directory(&mut self) -> &mut Directory {
        match &mut self.directory {
            Source::Read { value, .. } => value,
            _ => panic!("the directory is not there"),
        }
    }

    fn catalog(&mut self) -> &mut Catalog {
        match &mut self.catalog {
            Source::Read { value, .. } => value,
            _ => panic!("the catalog is not there"),
        }
    }

    fn desired(&self) -> Result<Desired, Hold> {
        desired(&self.me, &self.directory, &self.catalog, &self.local, None)
    }

    /// The plan; the checker must agree with it.
    fn plan(&self) -> Plan {
        let plan = plan(&self.desired(), &self.observed, &self.approvals, None);
        assert_eq!(self.check(&plan), [], "{plan}");
        plan
    }

    fn check(&self, plan: &Plan) -> Vec<Fault> {
        let facts = Facts {
            me: &self.me,
            directory: &self.directory,
            catalog: &self.catalog,
            local: &self.local,
            observed: &self.observed,
            approvals: &self.approvals,
        };
        verify::check(plan, &facts)
    }

    fn settle(&mut self) -> Plan {
        let plan = self.plan();
        apply(&mut self.observed, &plan);
        if let Ok(desired) = self.desired() {
            self.observed.hold(&desired, &plan);
        }
        plan
    }

    fn removals(&self) -> Vec<String> {
        removals(&self.plan())
    }
}

fn removals(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .filter(|action| {
            matches!(
                action,
                Action::RemovePeer { .. } | Action::RemoveZone { .. }
            )
        })
        .map(ToString::to_string)
        .collect()
}

const ZONES: &[(&str, char)] = &[
    ("z1.example", 'a'),
    ("z2.example", 'b'),
    ("z3.example", 'c'),
];

fn many(count: usize) -> Vec<(String, char)> {
    (0..count).map(|n| (format!("z{n}.example"), 'a')).collect()
}

fn borrowed(zones: &[(String, char)]) -> Vec<(&str, char)> {
    zones
        .iter()
        .map(|(zone, letter)| (zone.as_str(), *letter))
        .collect()
}

#[test]
fn a_new_site_plans_everything_and_then_nothing() {
    let mut world = World::new("site-b", "abc", ZONES);
    let expected = "\
plan from directory 1, catalog 1
  add peer site-a: 192.0.2.97 dns 53 dot 853 catalog-primary key 61616161…
  add peer site-c: 192.0.2.99 dns 53 dot 853 standard key 63636363…
  add zone z1.example.: secondary of site-a
  add zone z2.example.: primary
  add zone z3.example.: secondary of site-c
  add zone dns.internal.: secondary of site-a
  add zone catalog.dns.internal.: secondary of site-a
";
    assert_eq!(world.settle().to_string(), expected);
    for _ in 0..100 {
        let plan = world.settle();
        assert_eq!(
            plan.to_string(),
            "plan from directory 1, catalog 1\n  (all is as it should be)\n"
        );
    }
}

#[test]
fn the_primary_is_asked_first_then_who_holds_the_catalog() {
    let mut world = World::new("site-b", "abcd", ZONES);
    world.settle();
    let observed = &world.observed;
    let texts = |sites: Vec<SiteName>| {
        sites
            .iter()
            .map(|site| site.to_string())
            .collect::<Vec<_>>()
    };
    let of = |zone: &str| &observed.zones[&name(zone)];
    assert_eq!(
        texts(sources(of("z3.example"), &observed.peers)),
        ["site-c", "site-a", "site-d"]
    );
    // What says who is trusted comes from those whose role it is to hold it.
    for zone in ["dns.internal", "catalog.dns.internal"] {
        assert_eq!(texts(sources(of(zone), &observed.peers)), ["site-a"]);
    }
    assert_eq!(
        texts(notify(of("z2.example"), &observed.peers)),
        ["site-a", "site-c", "site-d"]
    );
    assert!(notify(of("z3.example"), &observed.peers).is_empty());
}

#[test]
fn a_new_site_costs_one_action_however_many_zones_there_are() {
    let zones = many(1000);
    let mut world = World::new("site-b", "ab", &borrowed(&zones));
    world.settle();
    world.publish(2, "abc", &borrowed(&zones));
    assert_eq!(world.plan().actions.len(), 1);
}

#[test]
fn a_changed_address_and_key_are_one_action() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    let c = world
        .directory()
        .sites
        .get_mut(&site_name("site-c"))
        .unwrap();
    c.addresses = vec!["198.51.100.1".parse().unwrap()];
    c.pins = vec![KeyPin([0xEE; 32])];
    assert_eq!(
        world.plan().to_string(),
        "plan from directory 1, catalog 1\n  \
         change peer site-c: 192.0.2.99 dns 53 dot 853 standard key 63636363… -> \
         198.51.100.1 dns 53 dot 853 standard key eeeeeeee…\n"
    );
}

#[test]
fn nothing_is_removed_when_directory_or_catalog_cannot_be_relied_upon() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    let good = world.clone();

    let mut directories = vec![
        Source::Missing("never transferred".into()),
        Source::Broken("no SOA".into()),
    ];
    let mut broken = good.clone();
    broken.directory().sites.clear();
    directories.push(broken.directory);
    let mut broken = good.clone();
    broken.directory().schema = Schema::Unknown("zonemesh=2".into());
    directories.push(broken.directory);
    let mut broken = good.clone();
    broken.directory().sites.remove(&site_name("site-b"));
    directories.push(broken.directory);
    for directory in directories {
        let world = World {
            directory,
            ..good.clone()
        };
        let plan = world.plan();
        assert!(plan.actions.is_empty() && plan.reasons.len() == 1, "{plan}");
    }
    for catalog in [
        Source::Missing("never transferred".into()),
        Source::Broken("version 3".into()),
        Source::Read {
            value: Catalog {
                apex: name("catalog.dns.internal"),
                members: BTreeMap::new(),
            },
            serial: 9,
        },
    ] {
        let mut world = World {
            catalog,
            ..good.clone()
        };
        assert_eq!(world.removals(), [""; 0]);
        assert!(!world.plan().reasons.is_empty());
        // Neither when the directory has lost its zones as well.
        world.directory().owners.clear();
        assert_eq!(world.removals(), [""; 0]);
        assert!(!world.plan().reasons.is_empty());
    }
}

#[test]
fn a_broken_catalog_does_not_keep_new_sites_out() {
    let mut world = World::new("site-b", "ab", ZONES);
    world.settle();
    world.publish(2, "abd", ZONES);
    world.catalog = Source::Broken("two PTR records".into());
    let plan = world.plan();
    assert_eq!(plan.actions.len(), 1, "{plan}");
}

#[test]
fn a_zone_leaves_when_both_have_let_go_of_it() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    world.catalog().members.remove(&name("z1.example"));
    let plan = world.plan();
    assert_eq!(removals(&plan), [""; 0]);
    assert_eq!(
        plan.reasons,
        [
            "z1.example. stays as it is: it is not in the catalog, but the directory says that site-a is its primary"
        ]
    );
    world.directory().owners.remove(&name("z1.example"));
    assert_eq!(
        world.removals(),
        ["remove zone z1.example.: was secondary of site-a"]
    );
}

#[test]
fn a_zone_without_a_known_primary_stays_and_a_new_site_asks_everybody() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    world.publish(2, "ab", ZONES);
    let plan = world.plan();
    assert_eq!(
        plan.reasons,
        ["z3.example. stays as it is: its primary, site-c, is not a site"]
    );
    assert_eq!(
        removals(&plan),
        ["remove peer site-c: it is no longer in the directory"]
    );
    let fresh = World {
        observed: Observed::default(),
        ..world
    };
    let adds: Vec<_> = fresh
        .plan()
        .actions
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        adds.contains(&"add zone z3.example.: secondary of any site".to_string()),
        "{adds:?}"
    );
}

#[test]
fn a_primary_keeps_its_zone_when_the_directory_forgets_who_it_is() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    world.directory().owners.remove(&name("z2.example"));
    assert!(world.plan().actions.is_empty());
}

#[test]
fn a_zone_made_here_stays_until_it_is_taken_back_here() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.local.own.insert(name("new.example"));
    world.local.own.insert(name("z1.example"));
    world.settle();
    for zone in ["new.example", "z1.example"] {
        let setup = ZoneSetup {
            role: ZoneRole::Primary,
            node: None,
            members_only: false,
        };
        world.observed.zones.insert(name(zone), setup);
    }
    let plan = world.plan();
    assert_eq!(plan.reasons.len(), 1, "{plan}");
    assert!(plan.reasons[0].starts_with("new.example."), "{plan}");
    // Where the directory names another, that one is it.
    let expected = "change zone z1.example.: primary -> secondary of site-a";
    let actions: Vec<String> = plan.actions.iter().map(ToString::to_string).collect();
    assert_eq!(actions, [expected]);
}

#[test]
fn an_adopted_zone_changes_hands() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    world.publish(
        2,
        "ab",
        &[
            ("z1.example", 'a'),
            ("z2.example", 'b'),
            ("z3.example", 'b'),
        ],
    );
    let removed = Removed {
        pins: vec![KeyPin([b'c'; 32])],
        at: 5,
    };
    world
        .directory()
        .removed
        .insert(site_name("site-c"), removed);
    assert_eq!(
        world.settle().to_string(),
        "plan from directory 2, catalog 2\n  \
         change zone z3.example.: secondary of site-c -> primary\n  \
         remove peer site-c: it was removed from the mesh\n"
    );
}

#[test]
fn a_removed_site_does_nothing_but_say_so() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    world.publish(2, "ac", ZONES);
    let removed = Removed {
        pins: Vec::new(),
        at: 5,
    };
    world
        .directory()
        .removed
        .insert(site_name("site-b"), removed);
    let plan = world.plan();
    assert!(plan.actions.is_empty());
    assert!(
        plan.reasons[0].contains("join again with a new welcome packet"),
        "{plan}"
    );
}

#[test]
fn nobody_promotes_itself_when_there_is_no_catalog_primary_or_two() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    for roles in [
        [Role::Standard, Role::Standard],
        [Role::CatalogPrimary, Role::CatalogPrimary],
    ] {
        for (site, role) in ["site-a", "site-b"].into_iter().zip(roles) {
            world
                .directory()
                .sites
                .get_mut(&site_name(site))
                .unwrap()
                .role = role;
        }
        let plan = world.plan();
        let zones = plan
            .actions
            .iter()
            .filter(|action| matches!(action, Action::ChangeZone { .. }));
        assert_eq!(zones.count(), 0, "{plan}");
        assert_eq!(plan.reasons.len(), 2, "{plan}");
    }
}

#[test]
fn mass_removal_is_held_until_exactly_that_is_approved() {
    let zones = many(50);
    let zones = borrowed(&zones);
    let mut world = World::new("site-b", "ab", &zones);
    world.settle();
    // One of fifty is left.
    world.publish(2, "ab", &zones[..1]);
    let plan = world.settle();
    assert_eq!(removals(&plan), [""; 0]);
    let [held] = &plan.held[..] else {
        panic!("{plan}")
    };
    assert_eq!((held.names.len(), held.of), (49, 50));
    assert!(
        plan.reasons[0].contains(&format!("approve {}", held.fingerprint)),
        "{plan}"
    );
    world.approvals.insert(held.fingerprint.clone());
    assert_eq!(world.removals().len(), 49);
    // Another set is not what was approved.
    world.publish(3, "ab", &zones[1..2]);
    assert_eq!(world.removals(), [""; 0]);
    world.publish(4, "ab", &zones);
    world.settle();
    // Five of fifty are 10 %, not more.
    world.publish(5, "ab", &zones[5..]);
    assert_eq!(world.removals().len(), 5);
    world.publish(6, "ab", &zones[6..]);
    assert_eq!(world.removals(), [""; 0]);
}

#[test]
fn what_is_held_goes_only_when_approved_however_many_of_it_come_back() {
    let zones = many(50);
    let zones = borrowed(&zones);
    let mut world = World::new("site-b", "ab", &zones);
    world.settle();
    world.publish(2, "ab", &zones[9..]);
    assert_eq!(world.settle().held[0].names.len(), 9);
    // All but one are back, and another one is gone that was not among them.
    let but = |left_out: [usize; 2]| {
        let kept = zones.iter().enumerate();
        let kept = kept.filter(|(number, _)| !left_out.contains(number));
        kept.map(|(_, zone)| *zone).collect::<Vec<_>>()
    };
    world.publish(3, "ab", &but([4, 4]));
    let plan = world.settle();
    assert_eq!((removals(&plan).len(), plan.held.len()), (0, 1), "{plan}");
    world.publish(4, "ab", &but([4, 40]));
    assert_eq!(world.settle().held[0].names.len(), 2);
    // A checker that is given such a plan refuses it.
    let held = std::mem::take(&mut world.observed.held);
    let plan = world.plan();
    assert_eq!(removals(&plan).len(), 2);
    world.observed.held = held;
    assert!(matches!(world.check(&plan)[..], [Fault::Brake { .. }]));
    // What is back may go by itself later on.
    world.publish(5, "ab", &zones);
    assert!(world.settle().held.is_empty());
    world.publish(6, "ab", &but([4, 4]));
    assert_eq!(removals(&world.settle()).len(), 1);
}

#[test]
fn the_last_zone_waits_for_approval_too() {
    let mut world = World::new("site-b", "ab", &ZONES[..1]);
    world.settle();
    world.publish(2, "ab", &[]);
    let plan = world.plan();
    assert_eq!((removals(&plan).len(), plan.held.len()), (0, 1));
    world.approvals.insert(plan.held[0].fingerprint.clone());
    assert_eq!(world.removals().len(), 1);
}

#[test]
fn sites_that_vanish_in_bulk_without_tombstones_are_held() {
    let mut world = World::new("site-b", "abcdef", &[]);
    world.settle();
    world.publish(2, "abf", &[]);
    let plan = world.plan();
    assert_eq!((removals(&plan).len(), plan.held.len()), (0, 1), "{plan}");
    for site in ["site-c", "site-d", "site-e"] {
        let removed = Removed {
            pins: Vec::new(),
            at: 5,
        };
        world.directory().removed.insert(site_name(site), removed);
    }
    assert_eq!(world.removals().len(), 3);
}

#[test]
fn an_older_directory_moves_nobody_backwards() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    world.publish(5, "abcd", ZONES);
    world.settle();
    world.publish(4, "abc", ZONES);
    let plan = world.plan();
    assert!(plan.actions.is_empty());
    assert_eq!(
        plan.reasons,
        ["nothing is changed: directory 4 is older than 5, which was acted upon already"]
    );
}

#[test]
fn a_new_member_node_resets_the_zone() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    let member = world
        .catalog()
        .members
        .get_mut(&name("z1.example"))
        .unwrap();
    member.node = name("another.zones.catalog.dns.internal");
    let actions: Vec<_> = world
        .plan()
        .actions
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(actions, ["reset zone z1.example.: secondary of site-a"]);
}

#[test]
fn a_zone_of_ours_that_enters_the_catalog_is_not_reset() {
    let mut world = World::new("site-b", "abc", ZONES);
    world.settle();
    let setup = world.observed.zones.get_mut(&name("z2.example")).unwrap();
    setup.node = None;
    let actions: Vec<_> = world
        .plan()
        .actions
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(actions, ["note zone z2.example.: primary, in the catalog"]);
}

#[test]
fn a_plan_that_comes_up_three_times_stops_until_another_one_comes() {
    let world = World::new("site-b", "abc", ZONES);
    let plan = world.plan();
    let mut breaker = Breaker::default();
    breaker.admit(&plan).unwrap();
    breaker.admit(&plan).unwrap();
    let stopped = breaker.admit(&plan).unwrap_err();
    assert!(
        stopped
            .to_string()
            .starts_with("stopped: the same plan of 7 action(s) came up 3 times")
    );
    breaker.admit(&plan).unwrap_err();
    let other = Plan {
        actions: plan.actions[1..].to_vec(),
        ..plan.clone()
    };
    breaker.admit(&other).unwrap();
    breaker.admit(&plan).unwrap();
    breaker.admit(&Plan::default()).unwrap();
    breaker.admit(&plan).unwrap();
}

#[test]
fn the_checker_finds_what_a_wrong_planner_would_do() {
    let zones = many(30);
    let mut world = World::new("site-b", "abc", &borrowed(&zones));
    world.settle();
    let setup = ZoneSetup {
        role: ZoneRole::Primary,
        node: None,
        members_only: false,
    };
    let remove = |zone: &str| Action::RemoveZone {
        zone: name(zone),
        setup: setup.clone(),
    };
    let peer = world.observed.peers[&site_name("site-a")].clone();
    let gone = |site: &str| Action::RemovePeer {
        site: site_name(site),
        departed: false,
    };
    let with = |actions: &[Action]| Plan {
        actions: actions.to_vec(),
        made_from: world.desired().ok().map(|desired| desired.made_from),
        ..Plan::default()
    };
    let all = |actions: &[Action]| world.check(&with(actions));
    assert!(matches!(
        all(&[remove("z1.example")])[..],
        [
            Fault::StillThere(_, "directory"),
            Fault::StillThere(_, "catalog")
        ]
    ));
    assert!(matches!(
        all(&[remove("DNS.internal")])[..],
        [Fault::Kept(_)]
    ));
    assert!(matches!(all(&[gone("site-a")])[..], [Fault::StillSite(_)]));
    assert!(matches!(all(&[gone("site-b")])[..], [Fault::Oneself(_)]));
    let me = Action::AddPeer {
        site: site_name("site-b"),
        peer,
    };
    assert!(matches!(all(&[me])[..], [Fault::Oneself(_)]));
    let promote = Action::AddZone {
        zone: name("z1.example"),
        setup: setup.clone(),
    };
    assert!(matches!(all(&[promote])[..], [Fault::Promotion(_)]));
    assert!(matches!(
        all(&[gone("site-y"), gone("site-y")])[..],
        [Fault::Twice(_), Fault::Brake { .. }]
    ));
    assert!(matches!(
        all(&[remove("x1."), remove("x2."), remove("x3."), remove("x4.")])[..],
        [Fault::Brake { .. }]
    ));
    let mut old = with(&[gone("site-x")]);
    old.made_from = Some(MadeFrom {
        directory: 0,
        catalog: Some(1),
    });
    assert!(matches!(
        world.check(&old)[..],
        [Fault::Stale { .. }, Fault::Stale { .. }]
    ));
    let blind = World {
        catalog: Source::Broken(String::new()),
        ..world.clone()
    };
    assert!(matches!(
        blind.check(&with(&[remove("x.")]))[..],
        [Fault::Catalog(_)]
    ));
    let blind = World {
        directory: Source::Missing(String::new()),
        ..world.clone()
    };
    assert!(matches!(
        blind.check(&with(&[gone("site-x")]))[..],
        [Fault::Directory(_)]
    ));
}

#[test]
fn a_plan_survives_json() {
    let plan = World::new("site-b", "abc", ZONES).plan();
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

prop_compose! {
    fn a_state()(
        sites in proptest::collection::btree_set(b'c'..b'h', 0..5),
        zones in proptest::collection::btree_map(0u8..12, b'a'..b'h', 0..12),
        forgotten in proptest::collection::btree_set(0u8..12, 0..3),
        trouble in 0u8..10,
    ) -> (String, Vec<(String, char)>, BTreeSet<u8>, u8) {
        let sites = "ab".chars().chain(sites.into_iter().map(char::from)).collect();
        let zones = zones.into_iter().map(|(n, letter)| (format!("z{n}.example"), char::from(letter)));
        (sites, zones.collect(), forgotten, trouble)
    }
}

proptest! {
    #[test]
    fn plans_lead_to_what_is_desired_and_never_remove_out_of_ignorance(
        states in proptest::collection::vec(a_state(), 1..6),
        approve: bool,
    ) {
        let mut world = World::new("site-b", "ab", &[]);
        for (at, (sites, zones, forgotten, trouble)) in states.into_iter().enumerate() {
            world.publish(at as u32 + 2, &sites, &borrowed(&zones));
            for n in forgotten {
                world.directory().owners.remove(&name(&format!("z{n}.example")));
            }
            match trouble {
                0 => world.directory = Source::Broken("x".into()),
                1 => world.catalog = Source::Broken("x".into()),
                2 => world.catalog = Source::Missing("x".into()),
                3 => world.directory().sites.clear(),
                _ => {}
            }
            let before = world.observed.clone();
            let mut plan = world.plan();
            if approve {
                world.approvals.extend(plan.held.iter().map(|held| held.fingerprint.clone()));
                plan = world.plan();
                prop_assert!(plan.held.is_empty());
            }
            if trouble <= 3 {
                let removes = |action: &Action| matches!(action, Action::RemoveZone { .. });
                prop_assert!(!plan.actions.iter().any(removes));
            }
            apply(&mut world.observed, &plan);
            let again = world.plan();
            prop_assert_eq!(&again.actions, &[], "a second plan");
            let Ok(desired) = world.desired() else {
                prop_assert_eq!(&world.observed, &before);
                continue;
            };
            for (zone, setup) in &desired.zones {
                let kept = desired.keep.contains_key(zone);
                prop_assert!(kept || world.observed.zones.get(zone) == Some(setup));
            }
            for (site, peer) in &desired.peers {
                prop_assert_eq!(world.observed.peers.get(site), Some(peer));
            }
            if plan.held.is_empty() {
                prop_assert!(world.observed.peers.keys().eq(desired.peers.keys()));
                if desired.keep_all.is_none() {
                    for zone in world.observed.zones.keys() {
                        prop_assert!(desired.zones.contains_key(zone) || desired.keep.contains_key(zone));
                    }
                }
            }
        }
    }
}
