//! How transfers go and what is told of them: differences over UDP, the line of the log, the last error of each primary.

use std::net::{SocketAddr, TcpListener};
use std::thread;

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::query::{receive_framed, send_framed};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Place, net, peers_or_skip, servers, wait};
use zonemesh_transfer::{Request, Response};
use zonemesh_zone::Zone;

use crate::common::*;

const ZONE: &str = "example.com";

/// A primary that is updated and transferred with the key.
fn primary(place: &Place) -> String {
    place.write("zone", &zone_text(1));
    format!(
        "{}[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ndynamic = true\nallow-update = [{{ key = \"{KEY}\" }}]\n\
         allow-transfer = [{{ key = \"{KEY}\" }}]\n",
        site(place)
    )
}

/// Adds so many addresses by UPDATE, and returns the serial that it led to.
fn add(peers: &zonemesh_testkit::Peers, us: &Site, name: &str, count: usize) -> Result<u32> {
    let mut text = format!(
        "server {} {}\nzone {ZONE}\n",
        us.dns().ip(),
        us.dns().port()
    );
    for number in 0..count {
        text.push_str(&format!(
            "update add {name}{number}.{ZONE} 60 A 192.0.2.9\n"
        ));
    }
    text.push_str("send\n");
    let key = format!("hmac-sha256:{KEY}:{SECRET}");
    servers::run(peers, "bin/nsupdate", &["-v", "-y", &key], &text)?;
    serial_at(us.dns(), ZONE)
}

/// The lines of the log that tell of transfers and have all of these words.
fn lines(us: &Site, words: &[&str]) -> Vec<String> {
    let log = us.log();
    let told = log.lines().filter(|line| {
        line.contains("\"message\":\"transfer\"") && words.iter().all(|word| line.contains(word))
    });
    told.map(str::to_owned).collect()
}

#[test]
fn differences_go_over_udp_when_they_fit_and_the_soa_alone_when_they_do_not() -> Result<()> {
    let peers = peers_or_skip!();
    let us = Site::start(primary)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let ask = |from: u32, how: &str| -> Result<Vec<String>> {
        let dig = Dig::new(&peers)
            .at(us.dns())
            .tsig("hmac-sha256", KEY, SECRET)
            .option(how);
        let mut records = dig.transfer(ZONE, &format!("IXFR={from}"))?;
        records.retain(|record| !record.contains(" TSIG "));
        Ok(records)
    };
    let ixfr = |from: u32| ask(from, "+notcp");
    let small = add(&peers, &us, "few", 2)?;
    // Two SOA records around, two in between, and what was added.
    ensure!(ixfr(1)?.len() == 6, "{:?}", ixfr(1)?);
    let current = ixfr(small)?;
    ensure!(current.len() == 1, "up to date: {current:?}");
    let large = add(&peers, &us, "many", 100)?;
    let alone = ixfr(small)?;
    ensure!(
        alone.len() == 1 && alone[0].contains(&large.to_string()),
        "{alone:?}"
    );
    let over_tcp = ask(small, "+tcp")?;
    ensure!(over_tcp.len() == 104, "{over_tcp:?}");
    Ok(())
}

#[test]
fn a_secondary_of_ours_takes_signed_differences_by_udp_and_both_tell_of_each_transfer() -> Result<()>
{
    let peers = peers_or_skip!();
    let us = Site::start(primary)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let second = Place::new("site")?;
    let there = second.dns();
    let other = Site::start_at(second, |place| {
        format!(
            "{}[[peer]]\nname = \"first\"\naddress = \"{}\"\ntsig-key = \"{KEY}\"\n\
             [[zone]]\nname = \"{ZONE}\"\nprimaries = [\"first\"]\nallow-notify = [\"127.0.0.0/8\"]\n",
            site(place),
            us.dns()
        )
    })?;
    wait::serial(SOON, there, ZONE, 1)?;
    // It is told by somebody, and asks its primary; both sides tell of that with the same words.
    let refresh = |serial: u32| -> Result<Vec<String>> {
        let notify = Dig::new(&peers).at(there).option("+opcode=NOTIFY");
        notify.option("+noedns").query(ZONE, "SOA")?;
        wait::serial(SOON, there, ZONE, serial)?;
        let told = |site: &Site, direction: &str| {
            let words = [
                format!("\"direction\":\"{direction}\""),
                format!("\"serial\":{serial},"),
                "\"kind\":\"IXFR\"".to_owned(),
                "\"proof\":\"tsig\"".to_owned(),
                format!("\"key\":\"{KEY}\""),
                "\"level\":\"INFO\"".to_owned(),
                format!("\"zone\":\"{ZONE}\""),
                "\"peer\":\"".to_owned(),
                "\"addr\":\"127.".to_owned(),
                "\"transport\":\"".to_owned(),
                "\"from_serial\":".to_owned(),
                "\"records\":".to_owned(),
                "\"messages\":".to_owned(),
                "\"bytes\":".to_owned(),
                "\"ms\":".to_owned(),
            ];
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            wait::until(SOON, &format!("a line with {words:?}"), || {
                Ok(lines(site, &words).pop())
            })
        };
        Ok(vec![told(&us, "out")?, told(&other, "in")?])
    };
    // A datagram that is late is not waited for, so that one of several has to do.
    let mut number = 0;
    wait::until(SOON, "differences by UDP", || {
        number += 1;
        let small = add(&peers, &us, &format!("few{number}-"), 2)?;
        let told = refresh(small)?;
        let by_udp = told
            .iter()
            .all(|line| line.contains("\"transport\":\"udp\""));
        Ok(by_udp.then_some(()))
    })?;
    let large = add(&peers, &us, "many", 100)?;
    for line in refresh(large)? {
        // The SOA alone went by UDP.
        ensure!(line.contains("\"transport\":\"tcp\""), "{line}");
    }
    for site in [&us, &other] {
        let whole = lines(
            site,
            &["\"kind\":\"AXFR\"", "\"serial\":1,", "\"records\":"],
        );
        ensure!(whole.len() == 1, "{whole:#?}");
    }
    Ok(())
}

#[test]
fn the_last_error_of_each_primary_is_shown() -> Result<()> {
    let peers = peers_or_skip!();
    let knot = Knot::start(&peers, |place| {
        place.write("zone", &zone_text(1));
        // Nobody may transfer.
        format!(
            "{}zone:\n  - domain: {ZONE}\n    file: zone\n",
            place.knot()
        )
    })?;
    let gone = Place::new("gone")?.dns();
    let us = Site::launch(Place::new("site")?, |place| {
        format!(
            "{}[[peer]]\nname = \"knot\"\naddress = \"{}\"\n[[peer]]\nname = \"gone\"\naddress = \"{gone}\"\n\
             [[zone]]\nname = \"{ZONE}\"\nprimaries = [\"gone\", \"knot\"]\n",
            site(place),
            knot.dns()
        )
    })?;
    let shown = wait::until(SOON, "both errors", || {
        let shown = us.cli_ok(&["zone", "show", ZONE])?;
        let (_, errors) = shown.split_once("SOURCE").context(shown.clone())?;
        let both = errors.contains("gone") && errors.contains("knot");
        Ok(both.then(|| errors.to_owned()))
    })?;
    let of = |source: &str| {
        let line = shown.lines().find(|line| line.starts_with(source));
        line.map(str::to_owned).with_context(|| shown.clone())
    };
    ensure!(of("knot")?.contains("NOTAUTH"), "{shown}");
    ensure!(of("gone")?.contains("nothing listens there"), "{shown}");
    Ok(())
}

/// A primary that sends the first message of each AXFR, and no more.
fn stalling(zone: Zone) -> Result<SocketAddr> {
    let listener = TcpListener::bind((net::loopback(), 0))?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        // They end with the test's process.
        for mut client in listener.incoming().flatten() {
            let zone = zone.clone();
            thread::spawn(move || -> Result<()> {
                loop {
                    let request = Request::parse(&receive_framed(&mut client)?)?;
                    let response = Response::new(&request, zone.clone(), |_| None);
                    let first = response.with_max_size(512).messages().next();
                    send_framed(&mut client, &first.context("a zone is not empty")?)?;
                }
            });
        }
    });
    Ok(at)
}

#[test]
fn a_transfer_under_way_is_shown_with_what_has_come_and_one_that_stalls_is_given_up() -> Result<()>
{
    let primary = stalling(zone_of(ZONE, &zone_text(1))?)?;
    let us = Site::launch(Place::new("site")?, |place| {
        format!(
            "{}[[peer]]\nname = \"slow\"\naddress = \"{primary}\"\n\
             [[zone]]\nname = \"{ZONE}\"\nprimaries = [\"slow\"]\n",
            site(place)
        )
    })?;
    wait::until(SOON, "the transfer in the status", || {
        let output = us.cli(&["status", "--json"])?;
        let status = String::from_utf8_lossy(&output.stdout).replace(' ', "");
        let (_, transfers) = status.split_once("\"transfers\"").context(status.clone())?;
        let words = ["\"in\"", "\"slow\"", &format!("\"{ZONE}.\"")];
        let shown = words.iter().all(|word| transfers.contains(word));
        Ok((shown && !transfers.contains("\"bytes\":0")).then_some(()))
    })?;
    // Ten seconds without a message are enough.
    wait::until(2 * SOON, "the line of the transfer", || {
        let words = ["\"direction\":\"in\"", "\"error\":", "no answer from"];
        Ok(lines(&us, &words).pop())
    })?;
    Ok(())
}
