//! All members of a catalog to an empty secondary, until it serves every one of them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use zonemesh_testkit::query::{self, qtype};

use super::Setup;
use crate::client;
use crate::server::{Kind, Role, Server};
use crate::table::{MIB, Samples, Section, Table, against_best, by_server, number, thousands};
use crate::zones::{self, SERIAL};

/// Members of the catalogs.
const MEMBERS: [usize; 2] = [10_000, 100_000];
/// Rounds at most: the large one takes long.
const ROUNDS: usize = 2;
/// Time between two looks at a member that is not served yet.
const POLL: Duration = Duration::from_millis(5);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Measured {
    wall: Samples,
    cpu: Samples,
    rest: Samples,
    memory: Samples,
}

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let sizes: &[usize] = if setup.smoke { &[50] } else { &MEMBERS };
    let rounds = setup.rounds.min(ROUNDS);
    let mut table = Table::new(&[
        "members",
        "server",
        "wall, s",
        "CPU until served, s",
        "CPU until at rest, s",
        "CPU a member, ms",
        "memory, MiB",
    ]);
    let mut notes = Vec::new();
    let kinds = [Kind::Ours, Kind::Knot];
    for &members in sizes {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let (catalog, member) = (folder.path().join("catalog"), folder.path().join("member"));
        zones::write_catalog(&catalog, members)?;
        zones::write_member(&member)?;
        let role = Role::Catalog {
            catalog: &catalog,
            member: &member,
            members,
        };
        let mut primary = Server::start(Kind::Knot, &setup.peers, &role)?;
        primary.wait_serial(zones::CATALOG, SERIAL)?;
        wait_all(primary.dns(), members)?;
        let role = Role::Consumer {
            primary: primary.dns(),
        };
        let mut results: [Measured; 2] = Default::default();
        for _ in 0..rounds {
            for (kind, result) in kinds.into_iter().zip(&mut results) {
                let started = Instant::now();
                let server = Server::start(kind, &setup.peers, &role)?;
                wait_all(server.dns(), members)
                    .with_context(|| format!("{} with {members} members", kind.name()))?;
                let (took, used) = (started.elapsed(), server.cpu()?);
                let at_rest = server.wait_rest()?;
                result.wall.push_time(took);
                result.cpu.push_time(used.total());
                result.rest.push_time(at_rest.total());
                result.memory.push(server.memory()?.now as f64);
                if kind == Kind::Ours {
                    // Those who do not allow transfers by default are not asked; a member is looked at by its serial above.
                    client::fetch(primary.dns(), zones::CATALOG)?;
                }
            }
        }
        for (kind, result) in kinds.iter().zip(&results) {
            table.row(vec![
                thousands(members as u64),
                kind.name().to_owned(),
                result.wall.spread(1.0),
                result.cpu.spread(1.0),
                result.rest.spread(1.0),
                number(result.cpu.median() * 1000.0 / members as f64),
                result.memory.spread(MIB),
            ]);
        }
        let of = by_server(kinds.iter().map(|kind| kind.name()), &results);
        for (what, pick) in [
            ("wall", (|result| &result.wall) as fn(&Measured) -> &Samples),
            ("CPU until served", |result| &result.cpu),
            ("memory", |result| &result.memory),
        ] {
            let what = format!("{} members, {what}", thousands(members as u64));
            notes.push(against_best(&what, &of(pick), Some(0.5)));
        }
    }
    Ok(Section {
        title: "Cold start".to_owned(),
        about: format!(
            "An empty consumer of a catalog (RFC 9432) is started and takes it and all its members, of six records each, from the same Knot: \
             from the start of the process until it has answered for every member, {rounds} rounds. Knot writes a zone file for each."
        ),
        tables: vec![table],
        notes,
    })
}

/// Asks for one member after the other until each was answered.
fn wait_all(server: SocketAddr, members: usize) -> Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).context("cannot bind a socket")?;
    socket.connect(server).context("cannot connect a socket")?;
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .context("cannot set a timeout")?;
    let started = Instant::now();
    let mut buffer = [0; 4096];
    for number in 0..members {
        let member = zones::member(number);
        loop {
            let question = query::question(&member, qtype::SOA);
            // One that is lost is asked for again.
            if let Ok(length) = ask(&socket, &question, &mut buffer)
                && query::soa_serial(&buffer[..length])? == Some(SERIAL)
            {
                break;
            }
            if started.elapsed() > PATIENCE {
                bail!("{member} is not served at {server} after {PATIENCE:?}");
            }
            thread::sleep(POLL);
        }
    }
    Ok(())
}

/// Sends a question and waits for its answer. One that comes to an earlier question, which was given up, is passed over: whoever
/// took it for a failure would ask again, and find the answer to this one before the answer to the next, and so on.
fn ask(socket: &UdpSocket, question: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
    socket.send(question)?;
    loop {
        let length = socket.recv(buffer)?;
        if length > 2 && buffer[..2] == question[..2] {
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_comes_late_does_not_delay_those_to_the_next_questions() {
        let server = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.connect(server.local_addr().unwrap()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let question = || query::question("m0.members.test", qtype::SOA);
        // It was given up, and is answered all the same.
        socket.send(&question()).unwrap();
        let echo = move || {
            let mut buffer = [0; 512];
            for _ in 0..11 {
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                server.send_to(&buffer[..length], from).unwrap();
            }
        };
        let server = thread::spawn(echo);
        let mut buffer = [0; 512];
        for _ in 0..10 {
            let question = question();
            let length = ask(&socket, &question, &mut buffer).unwrap();
            assert_eq!(buffer[..length], question);
        }
        server.join().unwrap();
    }
}
