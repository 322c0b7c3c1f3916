//! What changes of a site is followed by all, while it and they serve.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use zonemesh_testkit::load::Account;
use zonemesh_testkit::query::{self, qtype};
use zonemesh_testkit::{Load, net, wait};
use zonemesh_tests::ask::{self, rcode};
use zonemesh_tests::site::SOON;
use zonemesh_tests::{Mesh, Site};

/// A thousand queries a second for the `www` of a site's own zone.
fn load(site: &Site) -> Result<Load> {
    let load = Load::start(site.dns(), &format!("www.{}", site.zone()), qtype::A, 1000)?;
    wait::until(SOON, "the stream to flow", || {
        Ok((load.answered() > 100).then_some(()))
    })?;
    Ok(load)
}

fn assert_nothing_lost(account: &Account) {
    assert_eq!(account.lost, 0, "{account:?}");
    assert_eq!(account.rcodes, HashMap::from([(0, account.sent)]));
}

#[test]
fn peers_come_and_go_without_losing_one_of_a_thousand_queries_a_second() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    let streams = [load(&mesh[0])?, load(&mesh[1])?];
    mesh.join("site-c")?;
    mesh.wait_healthy()?;
    // Stopped first: one that has not heard yet that it was removed would knock, which is told of for an hour.
    let mut gone = mesh.sites.pop().context("the third site")?;
    gone.stop()?;
    mesh[0].cli_ok(&["site", "remove", "site-c", "--zones", "remove", "--wait"])?;
    mesh.wait_healthy()?;
    mesh[1].add_zone("lab.example", true)?;
    for stream in streams {
        assert_nothing_lost(&stream.finish()?);
    }
    Ok(())
}

#[test]
fn a_new_key_is_followed_by_all_and_the_old_one_is_worth_nothing() -> Result<()> {
    let mesh = Mesh::start(3)?;
    // The catalog primary too: everybody's way to the directory.
    for site in [&mesh[2], &mesh[0]] {
        let old = site.key()?;
        let stream = load(site)?;
        site.cli_ok(&["key", "roll"])?;
        let new = site.key()?;
        assert_ne!(old.pin(), new.pin());
        let name = &site.name;
        for other in &mesh.sites {
            other.wait_status("the new key alone", |status| {
                let pins = status.sites.iter().find(|site| site.name == *name);
                let hex: String = new
                    .pin()
                    .iter()
                    .map(|octet| format!("{octet:02x}"))
                    .collect();
                pins.is_some_and(|site| site.pins == [hex.clone()])
            })?;
        }
        mesh.wait_healthy()?;
        let changed = site.set(&site.zone(), "www", "198.51.100.77", true)?;
        assert!(changed.receipt.context("a receipt")?.complete());
        assert_nothing_lost(&stream.finish()?);
        let question = query::question("dns.internal", qtype::SOA);
        let reply = ask::tls(
            mesh[1].tls(),
            mesh[1].key()?.pin(),
            Some(&old),
            None,
            question,
        )?;
        assert_eq!(query::rcode(&reply), rcode::REFUSED);
    }
    let changed = mesh[1].set("b.example", "www", "198.51.100.78", true)?;
    assert!(changed.receipt.context("a receipt")?.complete());
    Ok(())
}

#[test]
fn the_keys_of_all_sites_are_rolled_at_once_without_losing_a_query_or_a_change() -> Result<()> {
    let mesh = Mesh::start(3)?;
    let old: Vec<_> = mesh
        .sites
        .iter()
        .map(|site| Ok(site.key()?.pin()))
        .collect::<Result<_>>()?;
    let streams: Vec<_> = [&mesh[0], &mesh[2]]
        .map(load)
        .into_iter()
        .collect::<Result<_>>()?;
    // Twice, as after a theft: what the first round left is rolled away too.
    for round in 1..=2 {
        thread::scope(|scope| {
            let rolls: Vec<_> = mesh
                .sites
                .iter()
                .map(|site| scope.spawn(|| site.cli_ok(&["key", "roll"])))
                .collect();
            for roll in rolls {
                roll.join().expect("no test thread panics")?;
            }
            anyhow::Ok(())
        })?;
        for site in &mesh.sites {
            site.wait_status("one new key of every site", |status| {
                let mut sites = status.sites.iter();
                status.sites.len() == 3
                    && sites.all(|site| {
                        let mut gone = old.iter().map(|pin| data_encoding::HEXLOWER.encode(pin));
                        site.pins.len() == 1 && gone.all(|gone| site.pins != [gone])
                    })
            })?;
        }
        mesh.wait_healthy()?;
        for site in &mesh.sites {
            let address = format!("198.51.100.{round}");
            let changed = site.set(&site.zone(), "rolled", &address, true)?;
            assert!(changed.receipt.context("a receipt")?.complete());
        }
    }
    for stream in streams {
        assert_nothing_lost(&stream.finish()?);
    }
    Ok(())
}

#[test]
fn a_rolled_key_is_still_the_sites_after_a_restart() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    for index in [1, 0] {
        mesh[index].cli_ok(&["key", "roll"])?;
        mesh[index].kill9()?;
        mesh[index].restart()?;
        mesh.wait_healthy()?;
    }
    Ok(())
}

#[test]
fn a_site_that_moves_is_found_again_by_all() -> Result<()> {
    /// F-03: twice the time until a source that does not answer is asked again.
    const FOLLOWED: Duration = Duration::from_secs(30);
    let mut mesh = Mesh::start(3)?;
    for index in [2, 0] {
        let old = mesh[index].place().address().to_string();
        let new = net::loopback().to_string();
        let role = if index == 0 {
            "catalog-primary"
        } else {
            "standard"
        };
        // Address of the zone's own queries stays: clients are not what moves here.
        let text = mesh[index].configuration(role);
        let dns = format!("dns = [\"{}\"]", mesh[index].dns());
        let (start, end) = text.split_once(&dns).context("the DNS listener")?;
        let moved = format!(
            "{}{dns}{}",
            start.replace(&old, &new),
            end.replace(&old, &new)
        );
        mesh[index].configure(&moved);
        mesh[index].restart()?;
        let name = mesh[index].name.clone();
        wait::within(FOLLOWED, "the move to be followed", || {
            for other in &mesh.sites {
                other.wait_status("the new address", |status| {
                    let moved = status.sites.iter().find(|site| site.name == name);
                    moved.is_some_and(|site| site.addresses == [new.clone()])
                })?;
            }
            mesh.wait_healthy()
        })?;
        let changed = mesh[index].set(&mesh[index].zone(), "www", "198.51.100.5", true)?;
        assert!(changed.receipt.context("a receipt")?.complete());
    }
    let changed = mesh[1].set("b.example", "www", "198.51.100.6", true)?;
    assert!(changed.receipt.context("a receipt")?.complete());
    Ok(())
}
