//! Sites on a network that loses packets and falls apart. Needs root.

use std::time::Duration;

use anyhow::Result;
use zonemesh_testkit::namespaces_or_skip;
use zonemesh_testkit::netns::Net;
use zonemesh_testkit::wait;
use zonemesh_tests::Mesh;

/// Until a site that is cut off is told of, and until it has caught up.
const TOLD: Duration = Duration::from_secs(15);
const ALIKE: Duration = Duration::from_secs(60);

#[test]
fn the_others_go_on_without_a_site_that_is_cut_off_and_it_catches_up() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(3)?;
    let mesh = Mesh::start_in(3, Some(&net))?;
    // The catalog primary is the one whose loss hurts most.
    net.hosts()[0].set_connected(false)?;
    let status = wait::within(TOLD, "to be told", || {
        mesh[1].wait_status("the lost site", |status| {
            status.checks.iter().any(|check| {
                check.name == "site-unreachable" && check.subject.as_deref() == Some("site-a")
            })
        })
    })?;
    assert!(
        status.checks.iter().all(|check| check.name != "not-ready"),
        "{:?}",
        status.checks
    );
    let (code, text) = mesh[1].cli_code(&["status"])?;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("site-a does not answer"), "{text}");
    // From here on nothing is sent to it that could arrive later by itself.
    for site in &mesh.sites[1..] {
        site.wait_log("peer site-a lost")?;
    }
    // The others serve everything, and a change at one reaches the other.
    for site in &mesh.sites {
        site.wait_address("www.a.example", "192.0.2.1")?;
        site.wait_address("www.c.example", "192.0.2.1")?;
    }
    mesh[1].set("b.example", "www", "198.51.100.1", false)?;
    mesh[2].wait_address("www.b.example", "198.51.100.1")?;
    mesh[0].set("a.example", "www", "198.51.100.2", false)?;
    let (code, text) = mesh[1].cli_code(&[
        "record",
        "set",
        "b.example",
        "more",
        "A",
        "192.0.2.5",
        "--wait",
        "--timeout",
        "1s",
    ])?;
    assert_eq!(code, 4, "a receipt that lacks a site: {text}");
    assert!(text.contains("site-a"), "{text}");

    net.hosts()[0].set_connected(true)?;
    wait::within(ALIKE, "to catch up", || {
        mesh.wait_address("www.b.example", "198.51.100.1")?;
        mesh.wait_address("www.a.example", "198.51.100.2")?;
        mesh.wait_healthy()
    })
}

#[test]
fn changes_reach_every_site_although_a_third_of_all_packets_is_lost() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(3)?;
    let mesh = Mesh::start_in(3, Some(&net))?;
    for host in net.hosts() {
        host.set_loss(0.3)?;
    }
    for round in 1..=3 {
        for site in &mesh.sites {
            site.set(&site.zone(), "www", &format!("198.51.100.{round}"), false)?;
        }
    }
    wait::within(ALIKE, "to be alike in spite of the loss", || {
        for site in &mesh.sites {
            // Asked on each host itself: the question must not get lost.
            mesh.wait_address(&format!("www.{}", site.zone()), "198.51.100.3")?;
        }
        Ok(())
    })?;
    for host in net.hosts() {
        host.set_loss(0.0)?;
    }
    mesh.wait_healthy()
}
