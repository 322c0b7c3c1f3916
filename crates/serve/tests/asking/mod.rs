//! Making zones and queries, and reading answers with `domain`.

#![allow(dead_code, missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use zonemesh_serve::{Client, Moment, Outcome, Served, Shared, Transport, ZoneSet, answer};
use zonemesh_zone::domain::base::Message;
use zonemesh_zone::domain::base::opt::AllOptData;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::version::Editor;
use zonemesh_zone::{Name, Record, Rtype, Zone};

pub const NOW: Moment = Moment {
    unix: 1_700_000_000,
    since_boot: Duration::from_secs(1_000),
};

pub fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

/// A zone of lines in zone file format.
pub fn zone(apex: &str, lines: &str) -> Zone {
    let apex = name(apex);
    let mut editor = Editor::new(apex.clone());
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let record = Record::from_text(line.trim(), &apex);
        editor
            .add(record.unwrap_or_else(|error| panic!("{line}: {error}")))
            .unwrap();
    }
    editor.finish().unwrap()
}

pub fn ready(zones: impl IntoIterator<Item = Zone>) -> Shared {
    let shared = Shared::new();
    shared.update_zones({
        let set: ZoneSet = zones.into_iter().map(Served::new).collect();
        move |_| set.clone()
    });
    shared.set_ready(true);
    shared
}

pub fn client(transport: Transport) -> Client {
    Client {
        addr: "192.0.2.53:4242".parse::<SocketAddr>().unwrap(),
        transport,
        pin: None,
    }
}

/// A question in the making.
#[derive(Clone)]
pub struct Ask {
    pub message: Vec<u8>,
    pub client: Client,
}

pub fn ask(qname: &str, qtype: &str) -> Ask {
    ask_wire(name(qname).as_slice(), qtype.parse().unwrap())
}

pub fn ask_wire(qname: &[u8], qtype: Rtype) -> Ask {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(qname);
    message.extend_from_slice(&qtype.to_int().to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    Ask {
        message,
        client: client(Transport::Udp),
    }
}

impl Ask {
    pub fn over(mut self, transport: Transport) -> Self {
        self.client.transport = transport;
        self
    }

    pub fn pinned(mut self, pin: [u8; 32]) -> Self {
        self.client.pin = Some(pin);
        self
    }

    pub fn header(mut self, at: usize, octet: u8) -> Self {
        self.message[at] = octet;
        self
    }

    pub fn class(mut self, class: u16) -> Self {
        let at = self.message.len() - 2;
        self.message[at..].copy_from_slice(&class.to_be_bytes());
        self
    }

    pub fn edns(self, payload: u16, dnssec: bool) -> Self {
        self.opt(payload, 0, dnssec, &[])
    }

    /// Adds an OPT record with options as they stand in it.
    pub fn opt(mut self, payload: u16, version: u8, dnssec: bool, options: &[u8]) -> Self {
        self.message[11] += 1;
        self.message.extend_from_slice(&[0, 0, 41]);
        self.message.extend_from_slice(&payload.to_be_bytes());
        self.message
            .extend_from_slice(&[0, version, u8::from(dnssec) << 7, 0]);
        self.message
            .extend_from_slice(&(options.len() as u16).to_be_bytes());
        self.message.extend_from_slice(options);
        self
    }

    pub fn outcome(&self, shared: &Shared) -> (Outcome, Vec<u8>) {
        let mut out = Vec::new();
        let outcome = shared.view(NOW, |view| {
            answer(&self.message, &self.client, view, &mut out)
        });
        (outcome, out)
    }

    pub fn of(&self, shared: &Shared) -> Answer {
        let (outcome, out) = self.outcome(shared);
        assert_eq!(outcome, Outcome::Reply);
        Answer::read(&out)
    }
}

/// An answer as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub rcode: String,
    pub authoritative: bool,
    pub truncated: bool,
    pub answer: Vec<String>,
    pub authority: Vec<String>,
    pub additional: Vec<String>,
    pub opt: Option<Opt>,
    pub question: Option<String>,
    pub len: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opt {
    pub payload: u16,
    pub version: u8,
    pub dnssec: bool,
    /// The 15 flags besides that for DNSSEC.
    pub flags: u16,
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Answer {
    /// Reads a message, which must be good from the first octet to the last.
    pub fn read(octets: &[u8]) -> Self {
        let message = Message::from_slice(octets).unwrap();
        let header = message.header();
        assert!(header.qr());
        let opt = message.opt();
        let mut end = 0;
        // Its last two octets.
        let mut flags = 0;
        let mut read = |section: zonemesh_zone::domain::base::message::RecordSection<'_, [u8]>| {
            let mut section = section;
            let mut lines = Vec::new();
            for record in section.by_ref() {
                let record = record.unwrap();
                if record.rtype() == Rtype::OPT {
                    flags = record.ttl().as_secs() as u16;
                    continue;
                }
                let record = Record::from_message(&record).unwrap();
                record.check_rdata().unwrap();
                lines.push(record.to_string());
            }
            end = section.pos();
            lines
        };
        let answer = match message.qdcount_is_one_or_none() {
            true => read(message.answer().unwrap()),
            false => panic!("more than one question"),
        };
        let authority = read(message.authority().unwrap());
        let additional = read(message.additional().unwrap());
        assert_eq!(end, octets.len(), "octets behind the end");
        let rcode = match &opt {
            Some(opt) => opt.rcode(header).to_string(),
            None => header.rcode().to_string(),
        };
        Self {
            rcode,
            authoritative: header.aa(),
            truncated: header.tc(),
            answer,
            authority,
            additional,
            opt: opt.map(|opt| Opt {
                payload: opt.udp_payload_size(),
                version: opt.version(),
                flags: flags & 0x7FFF,
                dnssec: opt.dnssec_ok(),
                options: options(octets, opt.opt()),
            }),
            question: message.sole_question().ok().map(|question| {
                format!("{} {}", question.qname().fmt_with_dot_(), question.qtype())
            }),
            len: octets.len(),
        }
    }

    pub fn option(&self, code: u16) -> Option<&[u8]> {
        let options = &self.opt.as_ref()?.options;
        options
            .iter()
            .find(|(have, _)| *have == code)
            .map(|(_, data)| data.as_slice())
    }

    /// Checks response code, AA and the three sections, whose records may come in any order.
    #[track_caller]
    pub fn expect(
        &self,
        rcode: &str,
        authoritative: bool,
        answer: &[&str],
        authority: &[&str],
        additional: &[&str],
    ) {
        let sorted = |lines: Vec<String>| {
            let mut lines = lines;
            lines.sort();
            lines
        };
        let want = |lines: &[&str]| sorted(lines.iter().map(|&line| line.to_owned()).collect());
        assert_eq!(self.rcode, rcode, "{self:#?}");
        assert_eq!(self.authoritative, authoritative, "{self:#?}");
        assert!(!self.truncated, "{self:#?}");
        assert_eq!(sorted(self.answer.clone()), want(answer), "{self:#?}");
        assert_eq!(sorted(self.authority.clone()), want(authority), "{self:#?}");
        assert_eq!(
            sorted(self.additional.clone()),
            want(additional),
            "{self:#?}"
        );
    }
}

trait QdCount {
    fn qdcount_is_one_or_none(&self) -> bool;
}

impl QdCount for Message<[u8]> {
    fn qdcount_is_one_or_none(&self) -> bool {
        self.header_counts().qdcount() <= 1
    }
}

trait WithDot {
    fn fmt_with_dot_(&self) -> String;
}

impl<N: zonemesh_zone::domain::base::ToName> WithDot for N {
    fn fmt_with_dot_(&self) -> String {
        self.to_cow().fmt_with_dot().to_string()
    }
}

fn options<O>(_: &[u8], opt: &zonemesh_zone::domain::base::opt::Opt<O>) -> Vec<(u16, Vec<u8>)>
where
    O: AsRef<[u8]> + zonemesh_zone::domain::dep::octseq::Octets,
{
    use zonemesh_zone::domain::base::opt::{ComposeOptData, OptData};
    opt.iter::<AllOptData<_, _>>()
        .map(|option| {
            let option = option.unwrap();
            let mut data = Vec::new();
            option.compose_option(&mut data).unwrap();
            (option.code().to_int(), data)
        })
        .collect()
}
