//! The answer in the making: which RRsets go into which section (RFC 1034 §4.3.2, RFC 2308, RFC 6672, RFC 8482).

use zonemesh_zone::{Node, RrsetRef, Rtype, Sought, Zone};

use crate::answer::View;
use crate::edns::extended;
use crate::lookup::{self, Found, Place};
use crate::message::{Query, classes, rcodes, types, wire_name_len};
use crate::writer::{Full, Writer};
use crate::zoneset::{Access, Served};

mod additional;
mod proofs;
mod sections;

/// How many CNAMEs, real and made of DNAMEs, are followed. Resolvers give up at about as many.
const CHAIN: usize = 16;

/// What became of a question.
pub(crate) enum Resolved {
    /// There is an answer, if only an error.
    Answered,
    /// This site must not answer.
    Silence,
}

/// The parts of the finished answer.
pub(crate) struct Done<'v, 'b> {
    pub out: &'b mut Vec<u8>,
    pub authoritative: bool,
    pub truncated: bool,
    pub rcode: u16,
    pub answers: u16,
    pub authority: u16,
    pub additional: u16,
    pub extended_error: Option<u16>,
    pub expire: Option<u32>,
    /// What the name of the question led to.
    pub found: Option<Source<'v>>,
}

/// What a question led to in the first of the zones that it goes through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'v> {
    /// The node that answers or delegates, if there is one: for all the names that a wildcard makes, the wildcard's own.
    pub node: Option<&'v Node>,
    /// The node of the zone's apex.
    pub apex: &'v Node,
}

/// An answer in the making.
pub(crate) struct Reply<'v, 'q, 'b> {
    view: &'v View<'v>,
    member: bool,
    query: &'q Query<'q>,
    writer: Writer<'b>,
    qtype: Rtype,
    dnssec: bool,
    pub(crate) authoritative: bool,
    truncated: bool,
    pub(crate) rcode: u16,
    answers: u16,
    authority: u16,
    additional: u16,
    extended_error: Option<u16>,
    expire: Option<u32>,
    found: Option<Source<'v>>,
    /// Where in the message the names stand that were looked up.
    chain: [u16; CHAIN],
    chain_len: usize,
    /// Nodes whose DNAME is in the answer section.
    redirects: [Option<&'v Node>; CHAIN + 1],
    /// Nodes whose NSEC is in the authority section.
    denials: [Option<&'v Node>; 4],
    wanted: Option<Wanted<'v>>,
}

/// An RRset whose targets' addresses go into the additional section.
struct Wanted<'v> {
    /// The node that it is from.
    node: &'v Node,
    set: RrsetRef<'v>,
    /// At which octet of each RDATA the target begins.
    target_at: usize,
    /// Where in the message its owner stands.
    owner_at: usize,
}

/// The name that is looked up.
#[expect(
    clippy::large_enum_variant,
    reason = "on the stack, while one query is answered"
)]
enum Current<'v> {
    /// The question's.
    Question,
    /// The target of a CNAME.
    Target(&'v [u8]),
    /// Made of the target of a DNAME.
    Made { octets: [u8; 255], len: usize },
}

#[expect(
    clippy::large_enum_variant,
    reason = "on the stack, while one query is answered"
)]
enum Step<'v> {
    Done,
    Follow(Current<'v>),
}

/// Why a zone gives no answer.
enum Refused {
    NotOurs,
    Prohibited,
    NotYet,
    Missing,
    Expired,
}

impl<'v, 'q, 'b> Reply<'v, 'q, 'b> {
    pub(crate) fn new(
        view: &'v View<'v>,
        member: bool,
        query: &'q Query<'q>,
        writer: Writer<'b>,
    ) -> Self {
        Self {
            view,
            member,
            query,
            writer,
            qtype: Rtype::from_int(query.question.qtype),
            dnssec: query.edns.is_some_and(|edns| edns.dnssec),
            authoritative: false,
            truncated: false,
            rcode: rcodes::NOERROR,
            answers: 0,
            authority: 0,
            additional: 0,
            extended_error: None,
            expire: None,
            found: None,
            chain: [0; CHAIN],
            chain_len: 0,
            redirects: [None; CHAIN + 1],
            denials: [None; 4],
            wanted: None,
        }
    }

    pub(crate) fn finish(self) -> Done<'v, 'b> {
        Done {
            authoritative: self.authoritative,
            truncated: self.truncated,
            rcode: self.rcode,
            answers: self.answers,
            authority: self.authority,
            additional: self.additional,
            extended_error: self.extended_error,
            expire: self.expire,
            found: self.found,
            out: self.writer.into_inner(),
        }
    }

    pub(crate) fn refuse(&mut self, why: u16) {
        self.rcode = rcodes::REFUSED;
        self.extended_error = Some(why);
    }

    /// Answers with one TXT record of class CHAOS.
    pub(crate) fn chaos_text(&mut self, owner: &[u8], text: &[u8]) {
        let mut fixed = [0u8; 11];
        fixed[..2].copy_from_slice(&types::TXT.to_be_bytes());
        fixed[2..4].copy_from_slice(&classes::CHAOS.to_be_bytes());
        fixed[8..10].copy_from_slice(&(text.len() as u16 + 1).to_be_bytes());
        fixed[10] = text.len() as u8;
        let mark = self.writer.mark();
        let written = self
            .writer
            .name(owner)
            .and_then(|()| self.writer.octets(&fixed))
            .and_then(|()| self.writer.octets(text));
        self.authoritative = true;
        match written {
            Ok(()) => self.answers = 1,
            Err(Full) => self.cut_off(mark),
        }
    }
}

/// # Following the question through the zones
impl<'v> Reply<'v, '_, '_> {
    /// Answers a question of class IN.
    pub(crate) fn resolve(&mut self, other: &mut Sought) -> Resolved {
        let mut current = Current::Question;
        // One name more than can be followed to: the last is looked up too.
        for step in 0..=CHAIN {
            let (name, sought) = match &current {
                Current::Question => (self.query.question.name, self.writer.question()),
                Current::Target(name) => (*name, other.set(name)),
                Current::Made { octets, len } => (&octets[..*len], other.set(&octets[..*len])),
            };
            let (served, zone) = match self.zone_for(sought) {
                Ok(found) => found,
                // What was found so far is an answer; the resolver goes on elsewhere.
                Err(_) if step > 0 => break,
                Err(Refused::NotYet) => return Resolved::Silence,
                Err(why) => {
                    self.fail(&why);
                    return Resolved::Answered;
                }
            };
            if step == 0 {
                self.note_expiry(served, zone);
            }
            let Some(found) = lookup::find(zone, sought, self.qtype) else {
                break;
            };
            match self.step(step, zone, &found, name, sought) {
                Ok(Step::Follow(next)) => current = next,
                Ok(Step::Done) => break,
                Err(Full) => return Resolved::Answered,
            }
        }
        if let Some(wanted) = self.wanted.take() {
            self.add_wanted(&wanted);
        }
        Resolved::Answered
    }

    fn fail(&mut self, why: &Refused) {
        let (rcode, error) = match why {
            Refused::NotOurs => (rcodes::REFUSED, extended::NOT_AUTHORITATIVE),
            Refused::Prohibited => (rcodes::REFUSED, extended::PROHIBITED),
            Refused::NotYet | Refused::Missing => (rcodes::SERVFAIL, extended::NOT_READY),
            Refused::Expired => (rcodes::SERVFAIL, extended::INVALID_DATA),
        };
        self.rcode = rcode;
        self.extended_error = Some(error);
    }

    /// The zone that answers for a name, if this client may have it.
    fn zone_for(&self, sought: &Sought) -> Result<(&'v Served, &'v Zone), Refused> {
        let view = self.view;
        let mut served = view.zones.closest(sought);
        if self.qtype == Rtype::DS
            && served.is_some_and(|served| served.apex.len() == sought.wire().len())
            && let Some(parent) = view.zones.closest_above(sought)
            && parent.zone.is_some()
            && self.may_see(parent)
        {
            served = Some(parent);
        }
        let Some(served) = served else {
            return Err(match view.ready {
                true => Refused::NotOurs,
                // It may well be in a zone that this site is yet to learn of.
                false => Refused::NotYet,
            });
        };
        if !self.may_see(served) {
            return Err(Refused::Prohibited);
        }
        if !view.ready && !self.member {
            return Err(Refused::NotYet);
        }
        match &served.zone {
            None => Err(Refused::Missing),
            Some(_) if served.expired => Err(Refused::Expired),
            Some(zone) => Ok((served, zone)),
        }
    }

    fn may_see(&self, served: &Served) -> bool {
        served.access == Access::Public || self.member
    }

    fn note_expiry(&mut self, served: &Served, zone: &Zone) {
        if self.qtype == Rtype::SOA && self.query.edns.is_some_and(|edns| edns.expire) {
            self.expire = Some(served.expiry.told(zone, self.view.now.since_boot));
        }
    }

    /// Answers for one name of the chain.
    fn step(
        &mut self,
        step: usize,
        zone: &'v Zone,
        found: &Found<'v>,
        name: &[u8],
        sought: &Sought,
    ) -> Result<Step<'v>, Full> {
        let is_referral = matches!(found.place, Place::Delegated(_));
        if step == 0 {
            self.authoritative = !is_referral;
            self.found = Some(Source {
                node: found.place.node(),
                apex: found.apex,
            });
        }
        match found.place {
            Place::Delegated(cut) => {
                self.referral(zone, cut)?;
                Ok(Step::Done)
            }
            Place::Redirected(node) => self.redirect(step, node, name),
            Place::Node(node) | Place::AtCut(node) => {
                if self.positive(node, name)? {
                    return Ok(Step::Done);
                }
                // At a zone cut there is nothing else that the parent's side could speak for.
                if let Place::Node(_) = found.place
                    && let Some(target) = self.alias(node, name)?
                {
                    return Ok(self.follow(step, target));
                }
                self.negative(found)?;
                self.deny(node)?;
                Ok(Step::Done)
            }
            Place::Wildcard {
                node: Some(node), ..
            } => {
                if self.positive(node, name)? {
                    self.deny_cover(zone, found, sought)?;
                    return Ok(Step::Done);
                }
                if let Some(target) = self.alias(node, name)? {
                    self.deny_cover(zone, found, sought)?;
                    return Ok(self.follow(step, target));
                }
                self.negative(found)?;
                self.deny_cover(zone, found, sought)?;
                self.deny(node)?;
                Ok(Step::Done)
            }
            Place::Wildcard {
                node: None,
                encloser,
            } => {
                self.negative(found)?;
                self.deny_cover(zone, found, sought)?;
                self.deny_wildcard(zone, found, sought, encloser)?;
                Ok(Step::Done)
            }
            Place::Empty => {
                self.negative(found)?;
                self.deny_cover(zone, found, sought)?;
                Ok(Step::Done)
            }
            Place::Nothing { encloser } => {
                self.rcode = rcodes::NXDOMAIN;
                self.negative(found)?;
                self.deny_cover(zone, found, sought)?;
                self.deny_wildcard(zone, found, sought, encloser)?;
                Ok(Step::Done)
            }
        }
    }

    fn follow(&self, step: usize, target: &'v [u8]) -> Step<'v> {
        // The same name a second time would lead to the same answer for ever.
        let seen = self.chain[..self.chain_len]
            .iter()
            .any(|&at| self.writer.same(at as usize, target));
        match step + 1 > CHAIN || seen {
            true => Step::Done,
            false => Step::Follow(Current::Target(target)),
        }
    }
}

/// # Answers
impl<'v> Reply<'v, '_, '_> {
    /// Answers with the RRset that was asked for; returns whether there is one.
    fn positive(&mut self, node: &'v Node, owner: &[u8]) -> Result<bool, Full> {
        let set = match self.query.question.qtype {
            types::ANY => one_of_any(node),
            _ => node.rrset(self.qtype),
        };
        let Some(set) = set else { return Ok(false) };
        // The chain has come by already; but what a wildcard makes is under another name.
        if set.rtype() == Rtype::DNAME
            && self.has_redirected(node)
            && owner.eq_ignore_ascii_case(node.owner_octets())
        {
            return Ok(true);
        }
        let mark = self.writer.mark();
        let at = self.writer.len();
        match self.put(owner, node, set, set.ttl().as_secs()) {
            Ok(count) => self.answers += count,
            Err(Full) => return self.full(mark),
        }
        if let Some(target_at) = additional::target_at(set.rtype()) {
            self.wanted = Some(Wanted {
                node,
                set,
                target_at,
                owner_at: at,
            });
        }
        Ok(true)
    }

    /// Answers with a CNAME if there is one; returns its target.
    fn alias(&mut self, node: &'v Node, owner: &[u8]) -> Result<Option<&'v [u8]>, Full> {
        if !node.is_alias() {
            return Ok(None);
        }
        let Some(set) = node.rrset(Rtype::CNAME) else {
            return Ok(None);
        };
        let Some(target) = set.first() else {
            return Ok(None);
        };
        self.put_alias(owner, |reply| {
            reply.put(owner, node, set, set.ttl().as_secs())
        })?;
        Ok(wire_name_len(target).map(|len| &target[..len]))
    }

    /// Writes a CNAME and remembers where its owner stands.
    fn put_alias(
        &mut self,
        owner: &[u8],
        put: impl FnOnce(&mut Self) -> Result<u16, Full>,
    ) -> Result<(), Full> {
        let mark = self.writer.mark();
        let at = self.writer.len();
        match put(self) {
            Ok(count) => self.answers += count,
            Err(Full) => return self.full(mark),
        }
        debug_assert!(self.writer.same(at, owner));
        if self.chain_len < CHAIN && at <= usize::from(u16::MAX) {
            self.chain[self.chain_len] = at as u16;
            self.chain_len += 1;
        }
        Ok(())
    }

    /// Answers with a DNAME and the CNAME that it makes (RFC 6672 §3.2).
    fn redirect(&mut self, step: usize, node: &'v Node, name: &[u8]) -> Result<Step<'v>, Full> {
        let Some((set, target)) = node
            .rrset(Rtype::DNAME)
            .and_then(|set| Some((set, set.first()?)))
            .filter(|(_, target)| wire_name_len(target) == Some(target.len()))
        else {
            return Ok(Step::Done);
        };
        let mark = self.writer.mark();
        // Once is enough, however often the chain comes by.
        if !self.has_redirected(node) {
            match self.put(node.owner_octets(), node, set, set.ttl().as_secs()) {
                Ok(count) => self.answers += count,
                Err(Full) => return self.full(mark),
            }
            if let Some(slot) = self.redirects.get_mut(step) {
                *slot = Some(node);
            }
        }
        let prefix = name.len() - node.owner_octets().len();
        let len = prefix + target.len();
        if len > 255 {
            self.rcode = rcodes::YXDOMAIN;
            return Ok(Step::Done);
        }
        let mut octets = [0u8; 255];
        octets[..prefix].copy_from_slice(&name[..prefix]);
        octets[prefix..len].copy_from_slice(target);
        let made = &octets[..len];
        let ttl = set.ttl().as_secs();
        self.put_alias(name, |reply| {
            reply
                .writer
                .records(name, types::CNAME, ttl, std::iter::once(made))
        })?;
        // Who asks for the CNAME itself has it.
        if matches!(self.query.question.qtype, types::CNAME | types::ANY) {
            return Ok(Step::Done);
        }
        let seen = self.chain[..self.chain_len]
            .iter()
            .any(|&at| self.writer.same(at as usize, made));
        Ok(match step + 1 > CHAIN || seen {
            true => Step::Done,
            false => Step::Follow(Current::Made { octets, len }),
        })
    }

    fn has_redirected(&self, node: &Node) -> bool {
        self.redirects
            .iter()
            .flatten()
            .any(|have| std::ptr::eq(*have, node))
    }

    /// A negative answer's SOA (RFC 2308 §3).
    fn negative(&mut self, found: &Found<'v>) -> Result<(), Full> {
        let Some(set) = found.apex.rrset(Rtype::SOA) else {
            return Ok(());
        };
        let minimum = set
            .first()
            .and_then(|rdata| rdata.last_chunk::<4>())
            .map_or(0, |octets| u32::from_be_bytes(*octets));
        let ttl = set.ttl().as_secs().min(minimum);
        self.put_authority(found.apex, set, ttl)
    }

    /// A referral to the servers of a delegated zone.
    fn referral(&mut self, zone: &'v Zone, cut: &'v Node) -> Result<(), Full> {
        let Some(set) = cut.rrset(Rtype::NS) else {
            return Ok(());
        };
        self.put_unsigned_authority(cut, set)?;
        if self.dnssec {
            match cut.rrset(Rtype::DS) {
                Some(ds) => self.put_authority(cut, ds, ds.ttl().as_secs())?,
                None => self.deny(cut)?,
            }
        }
        self.add_glue(zone, cut, set)
    }
}

/// RFC 8482 §4.1: one RRset is answer enough to a question for all. It is the first in order of types that is not
/// there for DNSSEC alone.
fn one_of_any(node: &Node) -> Option<RrsetRef<'_>> {
    let for_dnssec = |set: &RrsetRef<'_>| {
        matches!(
            set.rtype().to_int(),
            types::RRSIG | types::NSEC | types::NSEC3
        )
    };
    let mut sets = node.rrsets();
    let first = sets.clone().next();
    sets.find(|set| !for_dnssec(set)).or(first)
}
