//! Several foreign primaries of one zone at a time: the freshest that can be reached wins, and a stale one takes nothing back.

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::servers::Server as Running;
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Named, Nsd, Peers, Place, peers_or_skip, wait};

use crate::common::*;
use crate::tried::{Row, Server, tried};

const ZONE: &str = "example.com";

/// In the order in which each comes to be the freshest.
const ALL: [Server; 3] = [Server::Nsd, Server::Knot, Server::Bind];

/// The zone as one of them has it, which says so.
fn text_of(server: Server, serial: u32) -> String {
    format!("{}whose TXT \"{server:?} {serial}\"\n", zone_text(serial))
}

struct Primaries {
    knot: Knot,
    named: Named,
    nsd: Nsd,
}

impl Primaries {
    /// All of them, each with the zone under a serial of its own; they tell us of changes.
    fn start(peers: &Peers, ours: &Place, serial_of: impl Fn(Server) -> u32) -> Result<Self> {
        let write =
            |place: &Place, server| place.write("zone", &text_of(server, serial_of(server)));
        let (at, port) = (ours.address(), ours.port());
        let knot = Knot::start(peers, |place| {
            let file = write(place, Server::Knot);
            format!(
                "{}{}remote:\n  - id: us\n    address: {at}@{port}\n    via: {}\nzone:\n  - domain: {ZONE}\n    file: {file}\n    \
                 notify: us\n    acl: look\n",
                place.knot(),
                knot_access(place, SECRET),
                place.address()
            )
        })?;
        let named = Named::start(peers, |place| {
            write(place, Server::Bind);
            format!(
                "{}zone \"{ZONE}\" {{ type primary; file \"zone\"; check-names ignore; notify explicit; \
                 also-notify {{ {at} port {port}; }}; allow-transfer {{ any; }}; }};\n",
                place.named("")
            )
        })?;
        let nsd = Nsd::start(peers, |place| {
            write(place, Server::Nsd);
            format!(
                "{}zone:\n  name: {ZONE}\n  zonefile: zone\n  notify: {at}@{port} NOKEY\n  outgoing-interface: {}\n  \
                 provide-xfr: 127.0.0.0/8 NOKEY\n",
                place.nsd(""),
                place.address()
            )
        })?;
        Ok(Self { knot, named, nsd })
    }

    fn of(&mut self, server: Server) -> &mut Running {
        match server {
            Server::Knot => &mut self.knot,
            Server::Bind => &mut self.named,
            _ => &mut self.nsd,
        }
    }

    /// Gives one of them another version, of which it tells us.
    fn publish(&mut self, server: Server, serial: u32) -> Result<()> {
        let text = text_of(server, serial);
        self.of(server).place().write("zone", &text);
        match server {
            Server::Knot => self.knot.knotc(&["zone-reload", ZONE])?,
            Server::Bind => self.named.rndc(&["reload", ZONE])?,
            _ => self.nsd.nsd_control(&["reload", ZONE])?,
        };
        self.of(server).wait_serial(ZONE, serial)
    }
}

/// Our side, with all of them for primaries of the zone.
fn secondary(ours: Place, primaries: &Primaries) -> Result<Site> {
    // The freshest comes last.
    let [fresh, older, oldest] = ALL;
    let named = format!("\"{oldest:?}\", \"{older:?}\", \"{fresh:?}\"");
    let peer = |name: Server, server: &Running| {
        format!(
            "[[peer]]\nname = \"{name:?}\"\naddress = \"{}\"\n",
            server.dns()
        )
    };
    let of_each = [
        peer(Server::Knot, &primaries.knot),
        peer(Server::Bind, &primaries.named),
        peer(Server::Nsd, &primaries.nsd),
    ];
    Site::start_at(ours, |place| {
        format!(
            "{}{}[[zone]]\nname = \"{ZONE}\"\nprimaries = [{named}]\nallow-notify = [\"127.0.0.0/8\"]\n",
            site(place),
            of_each.concat()
        )
    })
}

/// Waits until the zone is what a server has published.
fn comes_from(us: &Site, peers: &Peers, server: Server, serial: u32) -> Result<()> {
    wait::serial(SOON, us.dns(), ZONE, serial)?;
    let answer = Dig::new(peers)
        .at(us.dns())
        .query("whose.example.com", "TXT")?;
    assert_eq!(answer.data("TXT"), [format!("\"{server:?} {serial}\"")]);
    Ok(())
}

/// Waits until a server has told us of a version, or was asked for it because it has told that there is another.
fn is_heard(us: &Site, server: Server, serial: u32) -> Result<()> {
    let words = [format!("\"{server:?}\""), format!("\"serial\":{serial},")];
    wait::until(SOON, &format!("{server:?} to tell of {serial}"), || {
        let log = us.log();
        let tells = |line: &str| words.iter().all(|word| line.contains(word));
        Ok(log.lines().any(tells).then_some(()))
    })
}

/// Waits until a server has been asked and had a version that is older than what we have, which status says.
fn is_passed_over(us: &Site, older: u32, held: u32) -> Result<()> {
    let words = format!("serial {older} is behind {held}");
    let mut status = String::new();
    let said = wait::until(SOON, &format!("status to say: {words}"), || {
        status = String::from_utf8_lossy(&us.cli(&["status", "--json"])?.stdout).into_owned();
        Ok(status.contains(&words).then_some(()))
    });
    said.with_context(|| format!("{status}\n{}", us.log()))
}

/// The serials of the versions that came, in that order.
fn taken(us: &Site) -> Vec<u32> {
    let came = transfers(us, "in");
    let whole = came.iter().filter(|line| !line.contains("\"SOA\""));
    let serial = |line: &String| {
        let from = line.split("\"serial\":").nth(1)?;
        from.split(',').next()?.parse().ok()
    };
    whole.filter_map(serial).collect()
}

#[test]
fn of_several_primaries_the_freshest_wins_and_a_stale_one_never_takes_us_back() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let mut serials = [30, 20, 10];
    let at = |server| ALL.iter().position(|one| *one as u8 == server as u8);
    let first = |server| at(server).map_or(0, |at| serials[at]);
    let mut primaries = Primaries::start(&peers, &ours, first)?;
    let mut us = secondary(ours, &primaries)?;
    for (place, fresh) in ALL.into_iter().enumerate() {
        let serial = match place {
            // There from the beginning, and found among those that were there too.
            0 => serials[0],
            _ => {
                let serial = serials[place - 1] + 10;
                primaries.publish(fresh, serial)?;
                serial
            }
        };
        serials[place] = serial;
        comes_from(&us, &peers, fresh, serial)?;
        // The freshest is away: what the others have, and tell us of, is no substitute, nor is it after a restart of ours.
        primaries.of(fresh).stop()?;
        let others = (0..ALL.len()).filter(|other| *other != place);
        for other in others.clone() {
            serials[other] += 1;
            primaries.publish(ALL[other], serials[other])?;
            is_heard(&us, ALL[other], serials[other])?;
        }
        us.restart()?;
        for other in others {
            is_passed_over(&us, serials[other], serial)?;
        }
        comes_from(&us, &peers, fresh, serial)?;
        // It is back, with what we have, and goes on from there.
        primaries.of(fresh).restart()?;
        serials[place] += 1;
        primaries.publish(fresh, serials[place])?;
        comes_from(&us, &peers, fresh, serials[place])?;
    }
    let mut taken = taken(&us);
    // What an older one had may have come before it was known that there is anything newer.
    taken.retain(|serial| *serial >= 30);
    ensure!(taken == [30, 31, 41, 42, 52, 53], "{taken:?}\n{}", us.log());
    for server in ALL {
        tried(&peers, server, Row::Several, "yes")?;
    }
    Ok(())
}
