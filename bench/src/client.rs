//! Asks for transfers and takes them in as cheaply as can be, so that the time is the server's.

use std::io::{BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use zonemesh_testkit::query::{self, qtype};
use zonemesh_transfer::inbound::{Incoming, Step, Transfer};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Digest, Zone};

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a transfer that was only counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Records, the SOA record counted as often as it came.
    pub(crate) records: u64,
    /// Octets, with the lengths between messages.
    pub(crate) octets: u64,
    /// Whether there were differences.
    pub(crate) is_ixfr: bool,
    /// From the question to the last record.
    pub(crate) took: Duration,
}

/// Transfers a whole zone and counts.
pub(crate) fn axfr(server: SocketAddr, apex: &str) -> Result<Counted> {
    let mut connection = Connection::open(server)?;
    connection.count(&query::question(apex, qtype::AXFR), Ends::WithSoa(2))
}

/// Composes the question for what has changed since a serial (RFC 1995 §3).
pub(crate) fn ixfr_question(apex: &str, serial: u32) -> Vec<u8> {
    let mut question = query::question(apex, qtype::IXFR);
    // One record in the authority section: the apex, SOA, IN, no TTL, two root names, the serial, and four more numbers.
    question[9] = 1;
    question.extend([0xC0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
    question.extend(serial.to_be_bytes());
    question.extend([0; 16]);
    question
}

/// How one knows that an answer is whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends {
    /// With the SOA record that comes as the so many-th.
    WithSoa(u32),
    /// As an IXFR ends: with the third SOA record of the new serial, or as an AXFR with the second if it has become one.
    AsIxfr,
}

/// A connection to a server.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> Result<Self> {
        let stream = query::connect(server, PATIENCE)?;
        stream.set_nodelay(true).context("cannot set an option")?;
        Ok(Self {
            stream: BufReader::with_capacity(1 << 18, stream),
            buffer: Vec::new(),
        })
    }

    /// Sends a question and counts the answer.
    pub(crate) fn count(&mut self, question: &[u8], ends: Ends) -> Result<Counted> {
        let started = Instant::now();
        query::send_framed(self.stream.get_mut(), question)?;
        let mut counted = Counted::default();
        let mut soas = Vec::new();
        loop {
            self.receive()?;
            counted.octets += self.buffer.len() as u64 + 2;
            let seen = look(&self.buffer)?;
            counted.records += seen.records;
            counted.is_ixfr |= counted.octets == self.buffer.len() as u64 + 2 && seen.is_ixfr;
            soas.extend(seen.soas);
            let of_the_new = soas.iter().filter(|soa| soas.first() == Some(soa)).count();
            let is_whole = match ends {
                Ends::WithSoa(last) => soas.len() >= last as usize,
                Ends::AsIxfr if counted.is_ixfr => of_the_new >= 3,
                Ends::AsIxfr => of_the_new >= 2,
            };
            if is_whole {
                counted.took = started.elapsed();
                return Ok(counted);
            }
        }
    }

    fn receive(&mut self) -> Result<()> {
        let mut length = [0; 2];
        self.stream
            .read_exact(&mut length)
            .context("the answer ended early")?;
        self.buffer.resize(u16::from_be_bytes(length).into(), 0);
        self.stream
            .read_exact(&mut self.buffer)
            .context("the answer ended early")
    }
}

/// Transfers a zone, checks it, and returns it.
pub(crate) fn fetch(server: SocketAddr, apex: &str) -> Result<Zone> {
    let question = query::question(apex, qtype::AXFR);
    let id = u16::from_be_bytes([question[0], question[1]]);
    let name = parse_name(apex).map_err(anyhow::Error::msg)?;
    let mut transfer = Transfer::axfr(name, None, id);
    let mut connection = Connection::open(server)?;
    query::send_framed(connection.stream.get_mut(), &question)?;
    loop {
        connection.receive()?;
        match transfer.feed(&connection.buffer)? {
            Step::More => {}
            Step::Done(Incoming::Full(zone)) => return Ok(zone),
            Step::Done(other) => bail!("{server} answered AXFR with {other:?}"),
        }
    }
}

/// Checks that servers have the same contents, and returns their digest.
pub(crate) fn same(servers: &[(&str, SocketAddr)], apex: &str) -> Result<Option<Digest>> {
    let mut first: Option<(&str, Digest)> = None;
    for (name, at) in servers {
        let digest = fetch(*at, apex)
            .with_context(|| format!("{name} does not send {apex}"))?
            .digest();
        match first {
            None => first = Some((name, digest)),
            Some((other, expected)) => ensure!(
                digest == expected,
                "{name} sends another {apex} than {other} does"
            ),
        }
    }
    Ok(first.map(|(_, digest)| digest))
}

struct Seen {
    records: u64,
    /// The serials of SOA records.
    soas: Vec<u32>,
    /// Whether the second record is an SOA record, as in the first message of an IXFR.
    is_ixfr: bool,
}

/// Counts the answer section of a message.
fn look(message: &[u8]) -> Result<Seen> {
    let field = |at: usize| -> Result<usize> {
        let octets = message
            .get(at..at + 2)
            .context("a message ends too early")?;
        Ok(usize::from(octets[0]) << 8 | usize::from(octets[1]))
    };
    let code = message.get(3).context("a message ends too early")? & 15;
    ensure!(code == 0, "the server answered with RCODE {code}");
    let (questions, answers) = (field(4)?, field(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(message, at)? + 4;
    }
    let (mut soas, mut is_ixfr) = (Vec::new(), false);
    for number in 0..answers {
        at = skip_name(message, at)?;
        let is_soa = field(at)? == usize::from(qtype::SOA);
        at += 10 + field(at + 8)?;
        if is_soa {
            // The serial and four more numbers end it.
            let serial = (field(at - 20)? << 16 | field(at - 18)?) as u32;
            is_ixfr |= number == 1;
            soas.push(serial);
        }
    }
    ensure!(answers > 0, "the server sent a message without records");
    Ok(Seen {
        records: answers as u64,
        soas,
        is_ixfr,
    })
}

fn skip_name(message: &[u8], mut at: usize) -> Result<usize> {
    loop {
        match message.get(at) {
            None => bail!("a message ends within a name"),
            Some(0) => return Ok(at + 1),
            Some(length) if *length >= 0xC0 => return Ok(at + 2),
            Some(length) => at += 1 + usize::from(*length),
        }
    }
}
