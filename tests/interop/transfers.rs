//! How transfers go and what is told of them: differences over UDP, the line of the log, the last error of each primary.

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Place, peers_or_skip, servers, wait};

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
    let refresh = |serial: u32, over: &str| -> Result<()> {
        // It is told by somebody, and asks its primary.
        let notify = Dig::new(&peers).at(there).option("+opcode=NOTIFY");
        notify.option("+noedns").query(ZONE, "SOA")?;
        wait::serial(SOON, there, ZONE, serial)?;
        for (site, direction) in [(&us, "out"), (&other, "in")] {
            let words = [
                format!("\"direction\":\"{direction}\""),
                format!("\"transport\":\"{over}\""),
                format!("\"serial\":{serial}"),
                "\"kind\":\"IXFR\"".to_owned(),
                "\"proof\":\"tsig\"".to_owned(),
                format!("\"key\":\"{KEY}\""),
                "\"level\":\"INFO\"".to_owned(),
            ];
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            wait::until(SOON, &format!("a line with {words:?}"), || {
                let told = lines(site, &words);
                ensure!(told.len() <= 1, "told once: {told:#?}");
                Ok(told.first().cloned())
            })?;
        }
        Ok(())
    };
    let small = add(&peers, &us, "few", 2)?;
    refresh(small, "udp")?;
    let large = add(&peers, &us, "many", 100)?;
    refresh(large, "tcp")?;
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
