//! From a message and a snapshot to the answer. Pure: no socket, no clock, no lock, and no allocation when the buffer
//! for the answer is large enough; but for a member that compares what it holds with what is held here.

use zonemesh_zone::Sought;
use zonemesh_zone::inventory::{Asked, Inventory};

use crate::clock::Moment;
use crate::edns::{self, Edns, extended};
use crate::handler::{Client, Transport};
use crate::message::{
    HEADER, Parsed, Query, Question, classes, first_opt, parse, question, rcodes, records, types,
};
use crate::reply::{Done, Reply, Resolved};
use crate::writer::{Names, Writer};
use crate::zoneset::{Members, Served, Settings, ZoneSet};

/// What a query is answered from.
pub struct View<'v> {
    /// The zones.
    pub zones: &'v ZoneSet,
    /// The members of the mesh.
    pub members: &'v Members,
    /// The operator's settings.
    pub settings: &'v Settings,
    /// What this site holds of the mesh, to be told to members.
    pub inventory: &'v Inventory,
    /// Whether this site holds all that it is to serve.
    pub ready: bool,
    /// Whether the client has proved in another way, such as by TSIG, that it is a member.
    pub trusted: bool,
    /// The time, for cookies, the EXPIRE option and the heartbeat.
    pub now: Moment,
    /// For how many seconds this site has made no progress, to be told to members.
    pub stuck: u16,
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Send what is in the buffer.
    Reply,
    /// Send nothing: it was no query.
    Drop,
    /// Send nothing and close the connection: this site must not answer (yet), another one shall be asked.
    Close,
    /// Give it to the [`crate::Handler`].
    Control,
}

/// Longest message over a stream.
const STREAM_LIMIT: usize = 65_535;
/// Longest UDP message without EDNS (RFC 1035 §4.2.1).
const PLAIN_LIMIT: usize = 512;
/// RFC 8467 §4.1: responses are padded to a multiple of this.
const PAD_BLOCK: usize = 468;

/// What kind of answer it is, as far as it matters to how many of it one network may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There are records of what was asked for.
    Positive,
    /// The name does not exist, or has no records of that type.
    Negative,
    /// Others know.
    Referral,
    /// Anything else.
    #[default]
    Error,
}

impl Kind {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Positive, Self::Negative, Self::Referral, Self::Error];

    /// Its name, for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Referral => "referral",
            Self::Error => "error",
        }
    }
}

/// What an answer is about, for those who count and limit answers. Nothing of an answer depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'v> {
    /// The kind of answer.
    pub kind: Kind,
    /// The owner name of what answers: of a positive answer or a referral the node (for the names that a wildcard makes the
    /// wildcard's), of a negative one the zone's apex. Empty in errors, which are not about any name of ours.
    pub source: &'v [u8],
    /// The type that was asked for; 0 where no question could be read.
    pub qtype: u16,
    /// Whether the client has proved its address with a good server cookie.
    pub proven: bool,
    /// Whether the answer is signed, and cannot be changed any more.
    is_signed: bool,
    /// Where in the answer its question ends.
    question_end: usize,
    /// Where in the answer its OPT record begins, or where the answer ends without one.
    opt_at: usize,
}

impl<'v> About<'v> {
    /// An answer of some kind.
    #[cfg(test)]
    pub(crate) const fn of(kind: Kind, source: &'v [u8]) -> Self {
        Self {
            kind,
            source,
            qtype: 0,
            proven: false,
            is_signed: false,
            question_end: HEADER,
            opt_at: HEADER,
        }
    }

    /// What an answer of the handler is about, as it can be seen in the message: by its response code, and the name of its question, which is
    /// that of a zone of ours where there is no error. `name` is where that name is put, in small letters.
    #[cold]
    pub(crate) fn read(message: &[u8], proven: bool, name: &'v mut [u8; 255]) -> Self {
        let question = question(message);
        let (mut opt, mut is_signed) = (None, false);
        for record in records(message) {
            is_signed |= record.rtype() == types::TSIG;
            opt = opt.or(Some(record).filter(|record| record.is_opt));
        }
        let low = message.get(3).map_or(0, |octet| u16::from(octet & 15));
        let high = opt.as_ref().map_or(0, |opt| u16::from(opt.fixed[4]));
        let kind = match high << 4 | low {
            rcodes::NOERROR | rcodes::NXDOMAIN | rcodes::YXDOMAIN => match message.get(6..8) {
                None | Some([0, 0]) => Kind::Negative,
                Some(_) => Kind::Positive,
            },
            _ => Kind::Error,
        };
        let source = match (&question, kind) {
            (None, _) | (_, Kind::Error) => &[],
            (Some(question), _) => {
                let name = &mut name[..question.name.len()];
                name.copy_from_slice(question.name);
                name.make_ascii_lowercase();
                &*name
            }
        };
        Self {
            kind,
            source,
            qtype: question.map_or(0, |question| question.qtype),
            proven,
            is_signed,
            question_end: HEADER + question.map_or(0, |question| question.wire.len()),
            opt_at: opt.map_or(message.len(), |opt| opt.at),
        }
    }

    /// The zone that the question is about, if it is to be counted; its name was read while it was answered.
    pub(crate) fn zone(&self, view: &View<'v>, question: &Sought) -> Option<&'v Served> {
        // None is known where there is no answer to a question.
        match view.settings.per_zone && self.qtype != 0 {
            true => view.zones.asked(question, self.qtype),
            false => None,
        }
    }

    /// Whether [`Self::truncate`] may be called: what is signed cannot be changed, and an error is not.
    pub(crate) fn may_be_truncated(&self) -> bool {
        !self.is_signed || self.kind == Kind::Error
    }

    /// Takes all records but OPT out of an answer and says that it was truncated, so that its client asks over a stream. An
    /// error is left as it is: it has no records.
    pub(crate) fn truncate(&self, out: &mut Vec<u8>) {
        if self.kind == Kind::Error {
            return;
        }
        let opt = self.opt_at..out.len();
        let additional = u8::from(!opt.is_empty());
        out.copy_within(opt.clone(), self.question_end);
        out.truncate(self.question_end + opt.len());
        out[2] |= 0x02;
        // Who is to ask again is told nothing yet, least of all that there is no such name.
        out[3] = rcodes::NOERROR as u8;
        out[6..12].copy_from_slice(&[0, 0, 0, 0, 0, additional]);
    }
}

/// Whether who sent a message has proved its address with a good server cookie.
pub(crate) fn is_proven(message: &[u8], client: &Client, view: &View<'_>) -> bool {
    first_opt(message).is_some_and(|(fixed, rdata)| {
        let edns = edns::parse_what_can_be(fixed, rdata);
        tell(&edns, client, false, view).is_some_and(|told| told.proven)
    })
}

/// What is worked with while a message is answered; used again for the next one, for it is too large to be made each time.
#[derive(Clone, Default)]
pub struct Workspace {
    /// The name of the question.
    pub(crate) question: Sought,
    /// The names that are looked up after it.
    other: Sought,
    names: Names,
}

/// Answers one message into a buffer, whose old contents are lost.
pub fn answer(message: &[u8], client: &Client, view: &View<'_>, out: &mut Vec<u8>) -> Outcome {
    answer_about(&mut Workspace::default(), message, client, view, out).0
}

/// The same for those who answer many, one after the other; it says what the answer is about as well.
pub fn answer_about<'v>(
    workspace: &mut Workspace,
    message: &[u8],
    client: &Client,
    view: &'v View<'v>,
    out: &mut Vec<u8>,
) -> (Outcome, About<'v>) {
    answer_read(workspace, false, message, client, view, out)
}

/// The same; the name of the message's question may be in the workspace already, as [`crate::together`] puts it there.
pub(crate) fn answer_read<'v>(
    workspace: &mut Workspace,
    is_read: bool,
    message: &[u8],
    client: &Client,
    view: &'v View<'v>,
    out: &mut Vec<u8>,
) -> (Outcome, About<'v>) {
    out.clear();
    let outcome = match &parse(message) {
        Parsed::Query(query) => {
            // One without a question is none to have been read.
            if !is_read || query.question.name.is_empty() {
                workspace.question.set(query.question.name);
            }
            return answer_query(workspace, message, query, client, view, out);
        }
        Parsed::Control => Outcome::Control,
        Parsed::Drop => Outcome::Drop,
        Parsed::NotImplemented => return bare(message, None, rcodes::NOTIMP, client, view, out),
        Parsed::Malformed(question) => {
            return bare(message, *question, rcodes::FORMERR, client, view, out);
        }
    };
    (outcome, About::default())
}

/// An answer without records but OPT, which stands in it if the message has one that can be found: without it FORMERR and NOTIMP say
/// that EDNS is not known here (RFC 6891 §7).
#[cold]
fn bare<'v>(
    message: &[u8],
    question: Option<Question<'_>>,
    rcode: u16,
    client: &Client,
    view: &View<'v>,
    out: &mut Vec<u8>,
) -> (Outcome, About<'v>) {
    out.extend_from_slice(&message[..2]);
    out.extend_from_slice(&[
        0x80 | message[2] & 0x79,
        rcode as u8,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    if let Some(question) = question {
        out[5] = 1;
        out.extend_from_slice(question.wire);
    }
    let mut about = About::default();
    if let Some((fixed, rdata)) = first_opt(message) {
        let edns = edns::parse_what_can_be(fixed, rdata);
        let told = tell(&edns, client, false, view);
        about.proven = told.as_ref().is_some_and(|told| told.proven);
        let opt = opt(&edns, rcode, told.as_ref(), view);
        opt.write(out, limit(Some(&edns), client.transport, view.settings));
        out[11] = 1;
    }
    (Outcome::Reply, about)
}

fn answer_query<'v>(
    workspace: &mut Workspace,
    message: &[u8],
    query: &Query<'_>,
    client: &Client,
    view: &'v View<'v>,
    out: &mut Vec<u8>,
) -> (Outcome, About<'v>) {
    let limit = limit(query.edns.as_ref(), client.transport, view.settings);
    let member = view.trusted
        || client
            .pin
            .is_some_and(|pin| view.members.pins.contains(&pin));
    let edns = query.edns.as_ref();
    let told = edns.and_then(|edns| tell(edns, client, member, view));
    let kept = edns.map_or(0, |_| edns::max_len(told.as_ref()));
    let room = limit - kept.min(limit / 2);
    let Workspace {
        question,
        other,
        names,
    } = workspace;
    let has_question = !query.question.wire.is_empty();
    // The shortest message that may be asked for has room for both.
    out.extend_from_slice(&message[..HEADER + query.question.wire.len()]);
    let writer = Writer::new(out, room, names, question);
    let mut reply = Reply::new(view, member, query, writer);
    match edns {
        Some(edns) if edns.version != 0 => reply.rcode = rcodes::BADVERS,
        // Without a question there is nothing to say but the cookie.
        _ if !has_question => {
            if view.settings.cookies.is_none() {
                reply.rcode = rcodes::FORMERR;
            }
        }
        _ => match query.question.class {
            classes::IN => match reply.resolve(other) {
                Resolved::Answered => {}
                Resolved::Silence => return (Outcome::Close, About::default()),
            },
            classes::CHAOS => chaos(&query.question, view.settings, &mut reply),
            _ => reply.refuse(extended::NOT_SUPPORTED),
        },
    }
    let done = reply.finish();
    let (kind, source) = about(&done);
    let out = done.out;
    let additional = done.additional + u16::from(edns.is_some());
    if let Some(header) = out.first_chunk_mut::<HEADER>() {
        let flags = u8::from(done.authoritative) << 2 | u8::from(done.truncated) << 1;
        header[2] = 0x80 | flags | header[2] & 1;
        header[3] = (done.rcode & 15) as u8;
        header[6..8].copy_from_slice(&done.answers.to_be_bytes());
        header[8..10].copy_from_slice(&done.authority.to_be_bytes());
        header[10..12].copy_from_slice(&additional.to_be_bytes());
    }
    let about = About {
        kind,
        source,
        qtype: query.question.qtype,
        proven: told.as_ref().is_some_and(|told| told.proven),
        is_signed: false,
        question_end: HEADER + query.question.wire.len(),
        opt_at: out.len(),
    };
    if let Some(edns) = edns {
        let opt = edns::Answer {
            expire: done.expire,
            extended_error: done.extended_error,
            ..opt(edns, done.rcode, told.as_ref(), view)
        };
        opt.write(out, limit);
    }
    (Outcome::Reply, about)
}

/// The kind of an answer, and the owner name that it is about.
fn about<'v>(done: &Done<'v, '_>) -> (Kind, &'v [u8]) {
    let kind = match done.rcode {
        rcodes::NOERROR | rcodes::NXDOMAIN | rcodes::YXDOMAIN => {
            if done.answers > 0 || done.truncated {
                Kind::Positive
            } else if done.authoritative {
                Kind::Negative
            } else if done.authority > 0 {
                Kind::Referral
            } else {
                Kind::Error
            }
        }
        _ => Kind::Error,
    };
    let source = done.found.and_then(|found| match kind {
        Kind::Error => None,
        Kind::Negative => Some(found.apex),
        Kind::Positive | Kind::Referral => Some(found.node.unwrap_or(found.apex)),
    });
    (kind, source.map_or(&[], |node| node.owner_octets()))
}

/// How long the answer may be.
fn limit(edns: Option<&Edns<'_>>, transport: Transport, settings: &Settings) -> usize {
    match (transport, edns) {
        (Transport::Tcp | Transport::Tls | Transport::Quic, _) => STREAM_LIMIT,
        (Transport::Udp, None) => PLAIN_LIMIT,
        (Transport::Udp, Some(edns)) => {
            // RFC 6891 §6.2.3: less than 512 is taken as 512.
            usize::from(edns.payload.min(settings.udp_payload)).max(PLAIN_LIMIT)
        }
    }
}

/// What the OPT record of an answer says, without what only its records tell.
fn opt<'t>(
    edns: &Edns<'_>,
    rcode: u16,
    told: Option<&'t edns::Told<'t>>,
    view: &View<'_>,
) -> edns::Answer<'t> {
    edns::Answer {
        payload: view.settings.udp_payload.max(PLAIN_LIMIT as u16),
        rcode,
        dnssec: edns.dnssec,
        expire: None,
        extended_error: None,
        told,
    }
}

/// What is told to who asks for it with options, which few do.
#[inline]
fn tell<'s>(
    edns: &Edns<'_>,
    client: &Client,
    member: bool,
    view: &View<'s>,
) -> Option<edns::Told<'s>> {
    edns.has_options.then(|| told(edns, client, member, view))
}

#[inline(never)]
fn told<'s>(edns: &Edns<'_>, client: &Client, member: bool, view: &View<'s>) -> edns::Told<'s> {
    let settings = view.settings;
    let transport = client.transport;
    let mut told = edns::Told::default();
    if edns.nsid {
        told.nsid = settings
            .nsid
            .as_deref()
            .map(|nsid| &nsid[..nsid.len().min(128)]);
    }
    if let (Some(secrets), Some(cookie)) = (&settings.cookies, edns.cookie)
        && let Some((both, proven)) = secrets.answer(cookie, client.ip(), view.now.unix as u32)
    {
        told.cookie = Some(both);
        told.proven = proven;
    }
    // RFC 9250 §5.5.2: QUIC has time-outs of its own.
    if matches!(transport, Transport::Tcp | Transport::Tls) && edns.keepalive {
        let tenths = settings.idle_timeout.as_millis() / 100;
        told.keepalive = Some(u16::try_from(tenths).unwrap_or(u16::MAX));
    }
    if member && edns.heartbeat {
        // The middle of the second that it is.
        told.heartbeat = Some((view.now.unix * 1000 + 500, view.stuck));
    }
    match edns.inventory.filter(|_| member) {
        Some(Asked::Sum) => told.sum = Some(view.inventory.sum()),
        // Too long for UDP, and whoever is a member has a connection.
        Some(Asked::Section(section)) if transport != Transport::Udp => {
            told.listing = Some(view.inventory.list(section).compose(section));
        }
        _ => {}
    }
    if transport.is_encrypted() && edns.padding {
        told.pad_to = Some(PAD_BLOCK);
    }
    told
}

/// What the server says about itself, if its operator lets it (RFC 4892).
fn chaos(question: &Question<'_>, settings: &Settings, reply: &mut Reply<'_, '_, '_>) {
    const VERSION: [&[u8]; 2] = [b"\x07version\x04bind\0", b"\x07version\x06server\0"];
    const IDENTITY: [&[u8]; 2] = [b"\x02id\x06server\0", b"\x08hostname\x04bind\0"];
    let is_one_of = |names: [&[u8]; 2]| {
        names
            .iter()
            .any(|name| question.name.eq_ignore_ascii_case(name))
    };
    let text = if is_one_of(VERSION) {
        settings.version.as_deref()
    } else if is_one_of(IDENTITY) {
        settings.identity.as_deref()
    } else {
        None
    };
    match text {
        Some(text) if matches!(question.qtype, types::TXT | types::ANY) => {
            let text = &text.as_bytes()[..text.len().min(255)];
            reply.chaos_text(question.name, text);
        }
        Some(_) => reply.authoritative = true,
        None => reply.refuse(extended::PROHIBITED),
    }
}
