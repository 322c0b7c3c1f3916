//! Whether the copy that a primary holds is the newest that it ever published.
//!
//! A primary that starts with a copy cannot know: the disk may be a restored one. It is in *doubt* until every other site has shown
//! a serial of the zone that this copy is known to have. Meanwhile it serves; changes wait, but not for long (see `wait`). A serial
//! that it neither started with nor made since is of a history that it has forgotten: that version is taken (see `recover`).
//!
//! ```text
//!   start ─► doubt ── all others have shown a known serial ─────────────► certain: a peer that is ahead is jumped over
//!              │ ▲
//!              │ └── durable ◄── put own changes on top ◄── brake ◄─┐
//!              └──── a peer shows an unknown serial ──► transfer ───┘
//! ```

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Name, Serial, SerialExt, Zone};

use super::Entry;
use super::epochs::ADOPTION_STEP;
use super::held::HeldHistory;
use super::round::Round;
use crate::brake::Fingerprint;
use crate::core::membership::offset;
use crate::core::{Core, DOUBTS, HeldDoubt, Now, Parting, PeerId, RecoveryView, doubts_key};

/// How long changes wait for the others to show what they have. A site that cannot be reached fails a NOTIFY within four seconds,
/// and one that can has answered long before.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often those are told once more who have not been heard and owe nothing, by what is known. They answer whoever is their zone's
/// primary with what they serve.
const REMIND: Duration = Duration::from_secs(30);

/// How far above its copy a primary publishes that has to before all others have been heard. Should one of them have a newer
/// history, the two must have no serial in common, or differences of one would be applied to the other. So there must not have
/// been as many versions since the copy was made: ten thousand changes a day of a week ago would still do.
const GAP: u32 = 1 << 16;

/// How many starts with a copy that was published over are told apart in one doubt.
const MOST_PARTINGS: usize = 16;

/// Whether the copy that a primary holds is the newest.
pub(super) struct Doubt {
    /// The version of which this copy has the history: the one it started with, or the one that it has taken since.
    pub(super) base: Option<Zone>,
    /// Its serial; none where the contents came from a file and not from anything that was published.
    pub(super) known: Option<Serial>,
    /// The first serial that was made here since.
    pub(super) first: Option<Serial>,
    /// The same of the starts before in this doubt that something was made after, oldest first. This copy has what was made then,
    /// and may yet be an older one than the last.
    partings: Vec<Parting>,
    /// Who could not be reached, and is not waited for.
    pub(super) silent: BTreeSet<PeerId>,
    /// Who has answered that it holds nothing of the zone when it was asked last.
    pub(super) lacking: BTreeSet<PeerId>,
    /// Until when changes wait at the latest.
    pub(super) until: Duration,
    /// What is on its way to the disk.
    pub(super) taking: Option<Taking>,
    /// When to ask again, after nobody could give what was shown.
    pub(super) again: Option<Duration>,
    pub(super) failures: u32,
    /// When to tell those once more who have not been heard, whatever became of their answers.
    pub(super) remind: Duration,
    pub(super) held: Option<HeldHistory>,
}

/// Whether sites are believed that say that this primary's copy is an old one.
enum Belief {
    /// Others have yet to say something.
    Open,
    Given,
    Denied,
    /// As many say so as do not; an operator says by this.
    Tied(Fingerprint),
}

/// A version on its way from a peer to the disk.
pub(super) struct Taking {
    /// The serial under which it will be served here.
    pub(super) serial: Serial,
    /// As it came.
    pub(super) zone: Zone,
    pub(super) from: PeerId,
    /// The serial that was held before, if anything was.
    pub(super) before: Option<Serial>,
    /// The approvals without which it would be held.
    pub(super) approved: Vec<Fingerprint>,
}

impl Doubt {
    pub(super) fn new(base: Option<Zone>, now: Now) -> Self {
        Self {
            known: base.as_ref().map(Zone::serial),
            base,
            first: None,
            partings: Vec::new(),
            silent: BTreeSet::new(),
            lacking: BTreeSet::new(),
            until: now.mono + LONGEST_WAIT,
            taking: None,
            again: None,
            failures: 0,
            remind: now.mono + REMIND,
            held: None,
        }
    }

    /// A doubt of before a restart, about copies that have been published over since; what is held now may be another.
    fn stored(stored: HeldDoubt, head: Zone, now: Now) -> Self {
        let mut partings = stored.partings;
        if partings.len() > MOST_PARTINGS {
            // What was made between the oldest two is unknown then, and is taken once more where it is shown.
            let Parting { known, base, .. } = partings.remove(0);
            partings[0] = Parting {
                known,
                base,
                first: partings[0].first,
            };
        }
        Self {
            partings,
            ..Self::new(Some(head), now)
        }
    }

    /// What a restart has to know of it.
    fn into_stored(self) -> Option<HeldDoubt> {
        let mut partings = self.partings;
        partings.extend(self.first.map(|first| Parting {
            known: self.known,
            first,
            base: self.base,
        }));
        (!partings.is_empty()).then_some(HeldDoubt { partings })
    }

    /// Where a serial is between a copy and what was published over it.
    fn gap(&self, serial: Serial) -> Option<usize> {
        self.partings.iter().position(|parting| {
            let later = parting.known.is_none_or(|known| serial.is_after(known));
            later && parting.first.is_after(serial)
        })
    }

    /// Whether a serial is of the history that this copy has, or will have when what is being taken is durable.
    pub(super) fn knows(&self, serial: Serial, head: Serial) -> bool {
        let taken = self.taking.as_ref().map(|taking| taking.zone.serial());
        let taken = taken.filter(|taken| self.gap(*taken) == self.gap(serial));
        self.has(serial, head) || taken.is_some_and(|taken| !serial.is_after(taken))
    }

    /// Whether a serial is of the history that this copy has.
    fn has(&self, serial: Serial, head: Serial) -> bool {
        let before = |known: Serial| !serial.is_after(known);
        let made = |first: Serial| !first.is_after(serial) && !serial.is_after(head);
        self.gap(serial).is_none()
            && (self.known.is_some_and(before) || self.first.is_some_and(made))
    }

    /// The version up to which the history with a serial and that of this copy are the same.
    pub(super) fn base_of(&self, serial: Serial) -> Option<&Zone> {
        match self.gap(serial) {
            Some(gap) => self.partings[gap].base.as_ref(),
            None => self.base.as_ref(),
        }
    }

    /// A version is made here. Returns what has to be remembered of this doubt with it.
    pub(super) fn publishes(&mut self, zone: &Zone) -> Vec<u8> {
        let first = *self.first.get_or_insert(zone.serial());
        self.base.get_or_insert_with(|| zone.clone());
        let before = self.partings.iter();
        let before = before.map(|parting| (parting.known, parting.first));
        HeldDoubt::compose(before.chain([(self.known, first)]))
    }

    /// What was made since this serial did not become durable, and was shown to nobody: the next version is the first then.
    pub(super) fn goes_back_to(&mut self, head: Option<Serial>) {
        let lost = |first: Serial| head.is_none_or(|head| first.is_after(head));
        if self.first.take_if(|first| lost(*first)).is_some() && self.known.is_none() {
            self.base = None;
        }
    }

    /// What has been taken is of this copy's history from now on.
    pub(super) fn has_taken(&mut self, zone: Zone) {
        let (known, base) = match self.gap(zone.serial()) {
            Some(gap) => {
                let parting = &mut self.partings[gap];
                (&mut parting.known, &mut parting.base)
            }
            None => (&mut self.known, &mut self.base),
        };
        *known = Some(zone.serial());
        *base = Some(zone);
    }

    /// Another version took the place of this copy, with its history; what was made here and is not in that was set aside. Returns
    /// whether the store remembers something of the history before.
    pub(super) fn is_replaced(&mut self, zone: Zone) -> bool {
        let serial = zone.serial();
        let ours = self.first.take_if(|first| !first.is_after(serial));
        // What is made on top of it already is remembered with that.
        let stored = self.first.is_none() && (ours.is_some() || !self.partings.is_empty());
        self.known = Some(serial);
        self.base = Some(zone);
        self.partings.clear();
        self.again = None;
        self.failures = 0;
        self.held = None;
        stored
    }

    /// A serial is another writer's, and nothing of it is to be taken.
    pub(super) fn disregard(&mut self, serial: Serial) {
        match self.gap(serial) {
            Some(gap) => self.partings[gap].known = Some(serial),
            None => self.known = Some(self.known.map_or(serial, |known| known.later_of(serial))),
        }
    }

    /// The serial that the next version must exceed for its sake.
    pub(super) fn floor(&self) -> Option<Serial> {
        let known = self.known.filter(|_| self.first.is_none())?;
        Some(known.add(GAP))
    }

    /// What a peer may be asked for the difference to that has shown a serial: something that was published.
    pub(super) fn known_base(&self, shown: Option<Serial>) -> Option<Zone> {
        let (known, base) = match shown.and_then(|shown| self.gap(shown)) {
            Some(gap) => (self.partings[gap].known, &self.partings[gap].base),
            None => (self.known, &self.base),
        };
        base.clone().filter(|base| known == Some(base.serial()))
    }
}

impl Entry {
    /// The sites whose word counts.
    fn others(&self) -> impl Iterator<Item = &PeerId> {
        let spec = &self.spec;
        let more = spec.sources.iter();
        let more = more.filter(|peer| !spec.notify.contains(peer));
        let all = spec.notify.iter().chain(more);
        all.filter(|peer| matches!(peer, PeerId::Site(_)))
    }

    /// Whether a peer has shown something that this copy, if it is a primary's in doubt, does not have.
    fn is_unknown(&self, peer: &PeerId) -> bool {
        let (Some(doubt), Some(head)) = (&self.doubt, &self.head) else {
            return false;
        };
        let shown = self.shown.get(peer);
        shown.is_some_and(|shown| !doubt.knows(*shown, head.serial()))
    }

    /// Who has not shown yet that it has nothing else.
    pub(super) fn unheard(&self) -> impl Iterator<Item = &PeerId> {
        self.others()
            .filter(|peer| !self.shown.contains_key(peer) || self.is_unknown(peer))
    }

    /// Whether somebody has shown a later serial of a history that is not held here.
    fn is_behind(&self) -> bool {
        let head = self.head.as_ref().map(Zone::serial);
        self.doubt.as_ref().zip(head).is_some_and(|(doubt, head)| {
            let mut shown = self.shown.values();
            shown.any(|shown| shown.is_after(head) && !doubt.knows(*shown, head))
        })
    }

    /// Who has something else, the newest first.
    pub(super) fn ahead(&self) -> Vec<PeerId> {
        let (Some(doubt), Some(head)) = (&self.doubt, &self.head) else {
            return Vec::new();
        };
        let head = head.serial();
        let unknown = self
            .shown
            .iter()
            .filter(|(_, shown)| !doubt.knows(**shown, head));
        let others = unknown.map(|(peer, _)| peer);
        let mut ahead: Vec<PeerId> = others
            .filter(|peer| matches!(peer, PeerId::Site(_)) && self.spec.sources.contains(peer))
            .cloned()
            .collect();
        ahead.sort_by(|one, other| {
            let (one, other) = (self.shown.get(one), self.shown.get(other));
            other.partial_cmp(&one).unwrap_or(Ordering::Equal)
        });
        ahead
    }

    /// The same where nobody's word counts more than another's: first what most have shown, of such the lowest. A serial that a
    /// single site made up comes last, and is then alone.
    fn by_consent(&self, mut ahead: Vec<PeerId>) -> Vec<PeerId> {
        let shown = |peer: &PeerId| self.shown.get(peer).copied();
        let consent = |peer: &PeerId| {
            let serial = shown(peer);
            ahead.iter().filter(|other| shown(other) == serial).count()
        };
        let counts: BTreeMap<PeerId, usize> = ahead
            .iter()
            .map(|peer| (peer.clone(), consent(peer)))
            .collect();
        ahead.sort_by(|one, other| {
            let lower = shown(one).partial_cmp(&shown(other));
            let lower = lower.unwrap_or(Ordering::Equal);
            counts.get(other).cmp(&counts.get(one)).then(lower)
        });
        ahead
    }

    /// What approves that this peer is believed where as many others know nothing of what it shows.
    pub(super) fn tie(&self, peer: &PeerId) -> Option<Fingerprint> {
        let (apex, shown) = (&self.spec.apex, self.shown.get(peer)?);
        Some(Fingerprint::of("tie", [format!("{apex} {shown} {peer}")]))
    }

    /// Whether something is being taken.
    fn is_taking(&self) -> bool {
        let doubt = self.doubt.as_deref();
        let under_way = |doubt: &Doubt| doubt.taking.is_some() || doubt.again.is_some();
        self.refresh.asking.is_some() || doubt.is_some_and(under_way)
    }

    /// How this primary stands with what the others hold.
    pub(super) fn recovery(&self) -> RecoveryView<'_> {
        let doubt = self.doubt.as_deref();
        let taking = doubt.and_then(|doubt| doubt.taking.as_ref());
        let asking = self.refresh.asking.as_ref().map(|asking| &asking.0);
        RecoveryView {
            lost: self.served.is_none(),
            unheard: doubt.map_or(Vec::new(), |_| self.unheard().collect()),
            until: doubt.map(|doubt| doubt.until),
            taking: taking.map(|taking| &taking.from).or(asking),
            waiting: self.rare.waiting.len(),
            taken: self.rare.taken.as_ref(),
        }
    }
}

/// # Doubt
impl Core {
    /// A primary has a copy, and nobody has confirmed that it is the newest.
    pub(super) fn begin_doubt(&mut self, apex: &Name, now: Now) {
        let in_mesh = self.mesh.is_some();
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if !in_mesh || !entry.spec.primary || !entry.spec.mesh {
            if let Some(doubt) = entry.doubt.take() {
                // Until what the new primary has is held here the store remembers it; see `follows_another`.
                entry.rare.stored_doubt = doubt.into_stored();
            }
            return;
        }
        let Some(head) = entry.head.clone() else {
            return;
        };
        // What was shown to a secondary is old news: it will be shown again.
        entry.shown.clear();
        match &mut entry.doubt {
            Some(doubt) => doubt.until = now.mono + LONGEST_WAIT,
            None => {
                if planted(Bug::OldCopyTrusted) {
                    return;
                }
                entry.doubt = Some(Box::new(match entry.rare.stored_doubt.take() {
                    Some(stored) => Doubt::stored(stored, head, now),
                    None => Doubt::new(Some(head), now),
                }));
            }
        }
    }

    /// A primary begins with contents that may not be what was once published, as the directory may say when it is known.
    pub(super) fn begin_unknown(&mut self, apex: &Name, now: Now) {
        if let Some(entry) = self.zones.get_mut(apex) {
            let doubt = &mut entry.doubt;
            doubt.get_or_insert_with(|| Box::new(Doubt::new(None, now)));
        }
    }

    /// A peer has shown which serial it has of a zone that this site is primary of.
    pub(in crate::core) fn look_at_shown(
        &mut self,
        apex: &Name,
        from: &PeerId,
        theirs: Serial,
        now: Now,
    ) {
        if self.has_yielded(apex) {
            return;
        }
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(head) = entry.head.as_ref().map(Zone::serial) else {
            return;
        };
        let counts = entry.doubt.is_some() && entry.others().any(|other| other == from);
        let unknown = counts && entry.is_unknown(from);
        if let Some(doubt) = entry.doubt.as_mut().filter(|_| unknown)
            && doubt.silent.remove(from)
        {
            // It is back, and has what could not be had from it: before others come to it with what is published here meanwhile.
            doubt.again = None;
        }
        match counts {
            true => self.settle(apex, now),
            false if theirs.is_after(head) => {
                // By another writer or another primary, perhaps; if nobody can be asked it is a peer that is ahead.
                if !self.look(apex, from, now) && !self.contest(apex, from, theirs, head, now) {
                    self.peer_ahead(apex, from.clone(), theirs, head, now);
                }
            }
            false => {}
        }
    }

    /// A peer did not take a NOTIFY.
    pub(super) fn is_silent(&mut self, apex: &Name, peer: &PeerId, now: Now) {
        if let Some(doubt) = self
            .zones
            .get_mut(apex)
            .and_then(|entry| entry.doubt.as_mut())
        {
            doubt.silent.insert(peer.clone());
            self.settle(apex, now);
        }
    }

    /// Whether a transfer to a peer has to wait: it asks for what has come since a serial that is not known here, so what it
    /// has would be written over before it could be taken. It is told that it has the newest.
    pub fn holds_back(&self, apex: &Name, peer: &PeerId, serial: Serial) -> bool {
        let Some(entry) = self.zones.get(apex) else {
            return false;
        };
        let (Some(doubt), Some(head)) = (&entry.doubt, &entry.head) else {
            return false;
        };
        // What is on its way to the disk may not arrive there.
        !doubt.has(serial, head.serial()) && entry.others().any(|other| other == peer)
    }

    /// Whether changes of a zone have to wait for what others have.
    pub(super) fn has_to_wait(&self, apex: &Name, now: Now) -> bool {
        let Some(entry) = self.zones.get(apex) else {
            return false;
        };
        let Some(doubt) = entry.doubt.as_ref().filter(|_| entry.head.is_some()) else {
            return false;
        };
        if entry.held().is_some() {
            return true;
        }
        if now.mono >= doubt.until {
            return false;
        }
        let open = |peer: &PeerId| !doubt.silent.contains(peer) && !self.is_lost_site(peer);
        entry.is_taking() || entry.unheard().any(open) || !self.mesh_is_met()
    }

    /// Whether it is known who the others are.
    fn mesh_is_met(&self) -> bool {
        self.mesh.as_ref().is_none_or(|mesh| mesh.met())
    }

    /// Goes on with a zone whose others have been heard or given up, or have something to be taken.
    pub(in crate::core) fn settle(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if let Some(doubt) = &mut entry.doubt {
            // Of a site that has left nobody is to approve anything.
            let gone = |held: &mut HeldHistory| !entry.spec.sources.contains(&held.from);
            doubt.held.take_if(gone);
        }
        if let (Some(doubt), true) = (&entry.doubt, entry.head.is_some()) {
            let due = doubt.again.is_none_or(|again| again <= now.mono);
            let idle = entry.refresh.asking.is_none() && doubt.taking.is_none();
            // Of who is believed by as many as not, the next one to answer decides.
            let held = entry.held().is_some_and(|held| !held.tied);
            if due && let Some(doubt) = self.doubt_of(apex) {
                // Its moment has come, whatever becomes of it: what is still to be done says so anew.
                doubt.again = None;
            }
            if idle && due && !held {
                self.take_what_is_ahead(apex, now);
            }
        }
        let certain = self.mesh_is_met()
            && !planted(Bug::DoubtNeverEnds)
            && self.zones.get(apex).is_some_and(|entry| {
                let idle = !entry.is_taking() && entry.held().is_none();
                entry.doubt.is_some() && idle && entry.unheard().next().is_none()
            });
        if certain && let Some(entry) = self.zones.get_mut(apex) {
            let noted = entry.doubt.take().and_then(|doubt| doubt.into_stored());
            if noted.is_some() {
                self.forget_doubt(apex);
            }
        }
        self.release(apex, now);
        self.schedule(apex);
    }

    pub(super) fn forget_doubt(&mut self, apex: &Name) {
        let none = (DOUBTS.to_owned(), doubts_key(apex), Vec::new());
        self.commit(Vec::new(), vec![none], None);
    }

    /// Another site is the primary, and what it has is held now.
    pub(super) fn follows_another(&mut self, apex: &Name) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if !entry.spec.primary && entry.rare.stored_doubt.take().is_some() {
            self.forget_doubt(apex);
        }
    }

    /// The same, if it is time.
    pub(super) fn settle_due(&mut self, apex: &Name, now: Now) {
        self.remind(apex, now);
        let is_due = |entry: &Entry| {
            let again = entry.doubt.as_ref().and_then(|doubt| doubt.again);
            let waits = Self::waits_until(entry);
            again.into_iter().chain(waits).any(|due| due <= now.mono)
        };
        if self.zones.get(apex).is_some_and(is_due) {
            self.settle(apex, now);
        }
    }

    /// Tells those once more who have not been heard.
    fn remind(&mut self, apex: &Name, now: Now) {
        let due = |doubt: &&mut Doubt| doubt.remind <= now.mono;
        let Some(doubt) = self.doubt_of(apex).filter(due) else {
            return;
        };
        doubt.remind = now.mono + REMIND;
        let entry = self.zones.get(apex);
        let unheard: Vec<PeerId> = entry.map_or(Vec::new(), |entry| {
            let owed = |peer: &&PeerId| entry.rare.tell.get(peer).is_some();
            entry
                .unheard()
                .filter(|peer| !owed(peer))
                .cloned()
                .collect()
        });
        for peer in unheard {
            self.tell(apex, peer, now);
        }
    }

    /// Goes on with all zones that are in doubt, after the members have become known or others.
    pub(in crate::core) fn settle_all(&mut self, now: Now) {
        let waits = |entry: &Entry| entry.doubt.is_some() || !entry.rare.waiting.is_empty();
        let open = self.zones.iter().filter(|(_, entry)| waits(entry));
        for apex in open.map(|(apex, _)| apex.clone()).collect::<Vec<_>>() {
            self.settle(&apex, now);
        }
    }

    /// How far above all that was shown the next version of a zone has to be, besides.
    pub(in crate::core) fn beyond(&self, apex: &Name) -> u32 {
        let Some(entry) = self.zones.get(apex) else {
            return 0;
        };
        let mesh = self.mesh.as_ref().filter(|mesh| mesh.governs(apex));
        match (entry.is_behind(), entry.adopted) {
            // What was shown and could not be had may go on at another writer, which keeps its distance from it too.
            (true, _) => GAP + mesh.map_or(0, |mesh| offset(&mesh.settings.me.name)),
            // Whoever was its primary before may have published more than was seen here.
            (false, true) => ADOPTION_STEP,
            (false, false) => 0,
        }
    }

    pub(super) fn doubt_of(&mut self, apex: &Name) -> Option<&mut Doubt> {
        self.zones.get_mut(apex)?.doubt.as_deref_mut()
    }

    /// Asks for the newest of what others have and this copy lacks.
    fn take_what_is_ahead(&mut self, apex: &Name, now: Now) {
        if self.has_yielded(apex) {
            return;
        }
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        let mut ahead = entry.ahead();
        if ahead.is_empty() {
            return;
        }
        if !self.has_role(entry, &ahead) {
            ahead = entry.by_consent(ahead);
        }
        match self.is_believed(apex, &ahead, now) {
            Belief::Open => {
                // The others have until then to say something.
                if let Some(doubt) = self.doubt_of(apex) {
                    doubt.again = Some(doubt.until);
                }
            }
            Belief::Given => {
                self.let_go_of_tie(apex);
                let first = ahead.remove(0);
                if let Some(doubt) = self.doubt_of(apex)
                    && doubt.failures == 0
                {
                    doubt.until = doubt.until.max(now.mono + LONGEST_WAIT);
                }
                self.ask(apex, first, Round::new(ahead.into(), false, 0), now);
            }
            Belief::Tied(fingerprint) => {
                let from = ahead.remove(0);
                let why = format!(
                    "{from} has a newer history of {apex} than this site, its primary, and as many other sites know nothing of it; none \
                     of them has the role to hold it, and one alone is not believed"
                );
                self.hold_tie(apex, fingerprint, from, why);
            }
            Belief::Denied => {
                self.let_go_of_tie(apex);
                self.jump_over(apex, ahead.remove(0), now);
            }
        }
    }

    /// Whether sites are to be believed by their role, which for anything but directory and catalog all have.
    fn has_role(&self, entry: &Entry, sites: &[PeerId]) -> bool {
        let holders = |mesh: &crate::core::Mesh| sites.iter().all(|peer| mesh.is_holder(peer));
        !entry.spec.members_only || self.mesh.as_ref().is_none_or(holders)
    }

    /// Directory and catalog say who is trusted. Where no site has the role to hold them, one alone is not believed that the
    /// primary's are old: most of those that have answered must say so, and where it is half of them an operator.
    fn is_believed(&self, apex: &Name, ahead: &[PeerId], now: Now) -> Belief {
        let Some(entry) = self.zones.get(apex) else {
            return Belief::Open;
        };
        if self.has_role(entry, ahead) {
            return Belief::Given;
        }
        let Some(doubt) = entry.doubt.as_ref() else {
            return Belief::Open;
        };
        let silent = |peer: &PeerId| doubt.silent.contains(peer) || self.is_lost_site(peer);
        let open = entry
            .others()
            .any(|peer| !entry.shown.contains_key(peer) && !silent(peer));
        if open && now.mono < doubt.until {
            return Belief::Open;
        }
        let answered = entry.others().filter(|peer| entry.shown.contains_key(peer));
        match (ahead.len() * 2).cmp(&answered.count()) {
            Ordering::Greater => Belief::Given,
            Ordering::Less => Belief::Denied,
            Ordering::Equal => match ahead.first().and_then(|peer| entry.tie(peer)) {
                Some(tie) if self.consent.approved().contains(&tie) => Belief::Given,
                Some(tie) if !self.consent.is_declined(&tie) => Belief::Tied(tie),
                _ => Belief::Denied,
            },
        }
    }

    /// What a peer has is not taken: publish above it.
    pub(super) fn jump_over(&mut self, apex: &Name, peer: PeerId, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let head = entry.head.as_ref().map(Zone::serial);
        let (Some(theirs), Some(ours)) = (entry.shown.get(&peer).copied(), head) else {
            return;
        };
        if let Some(doubt) = &mut entry.doubt {
            doubt.disregard(theirs);
        }
        self.peer_ahead(apex, peer, theirs, ours, now);
    }
}
