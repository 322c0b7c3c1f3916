//! What goes into the core of a site and what comes out of it. Plain data: no socket, file or clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zonemesh_zone::directory::SiteName;
use zonemesh_zone::inventory::{Listing, Section};
use zonemesh_zone::record::canonical_text;
use zonemesh_zone::{Author, Diff, Name, Rcode, Record, Rrset, Rtype, Serial, Zone};

use super::{ClockFault, MemberOf, PeerList, Seen, Verdict};

/// The time, as the shell knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Time since an arbitrary, fixed moment; never goes back, whatever is done to the clock. For waiting, and for how long something
    /// may be served.
    pub mono: Duration,
    /// Unix time in seconds. For what is kept on disk, and shown.
    pub wall: i64,
}

/// A site of the mesh, or a foreign server from the configuration, by its name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerId {
    /// Another site.
    Site(SiteName),
    /// A foreign server.
    Foreign(Arc<str>),
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site(name) => write!(f, "{name}"),
            Self::Foreign(name) => f.write_str(name),
        }
    }
}

/// Identifies a request to the core; its outcome carries the same number.
pub type RequestId = u64;

/// Identifies a commit.
pub type CommitId = u64;

/// What one zone is to this site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSpec {
    /// The zone.
    pub apex: Name,
    /// Where its contents come from; empty at its primary.
    pub sources: PeerList,
    /// Whether this site is its primary.
    pub primary: bool,
    /// Who is told of changes.
    pub notify: PeerList,
    /// Whether it is answered to members of the mesh only.
    pub members_only: bool,
    /// Whether it belongs to the mesh, so that sites are waited for.
    pub mesh: bool,
}

impl ZoneSpec {
    /// The source that is the zone's primary, as far as that is known here. Before a plan has said so of a zone of the mesh it is
    /// nobody, and not whoever comes first among the others.
    pub fn primary_source(&self) -> Option<&PeerId> {
        match self.mesh {
            true => self.sources.leader(),
            false => self.sources.first(),
        }
    }
}

/// What a transfer brought.
#[derive(Clone, Debug)]
pub enum Got {
    /// The source has nothing newer than what we have.
    UpToDate {
        /// What it has; may be older than ours.
        serial: Serial,
    },
    /// A whole zone.
    Full(Zone),
    /// The zone that the differences lead to, and they.
    Diffs(Zone, Vec<Diff>),
}

/// Why a transfer, a NOTIFY or a probe did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What an operator reads.
    pub message: String,
    /// Whether the peer could not be reached at all, as against having answered something bad.
    pub unreachable: bool,
    /// Whether the peer has answered that it does not hold the zone, to a site that may know.
    pub lacks: bool,
}

/// What a source of a zone has said last, as long as it has not been of use since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// What an operator reads.
    pub message: String,
    /// Unix time at which it said so.
    pub at: i64,
}

/// What a member says of itself in the answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// How far its clock is ahead of this site's, in milliseconds.
    pub ahead_ms: i64,
    /// For how long it has made no progress, though it answers: its core or its disk is stuck. Zero when all is well.
    pub stuck: Duration,
    /// The sum of all that it serves of the mesh, if it says so; see [`Core::inventory`](super::Core::inventory).
    pub sum: Option<u64>,
}

/// A zone as the store has it at the start.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its contents.
    pub zone: Zone,
    /// The highest serial that was published or shown.
    pub high_water: Serial,
    /// Unix time at which it expires; none at its primary.
    pub expires_at: Option<i64>,
    /// Unix time of the last success with a source.
    pub last_refresh: Option<i64>,
    /// Whether this site was made its primary by command, and the directory may not say so yet: see [`HOSTED`].
    pub hosted: bool,
    /// Whether it ever was, since this store began: the zone was not got from others.
    pub made_here: bool,
    /// What this site, its primary, has published without knowing whether its copy was the newest: see [`DOUBTS`].
    pub doubt: Option<HeldDoubt>,
}

/// The table of the store in which zones are kept that their primary, this site, has published before all others had shown that
/// its copy was the newest: by [`doubts_key`], with a value that [`HeldDoubt::parse`] reads, and that is empty when that is over.
pub const DOUBTS: &str = "doubts";

/// Under which key of [`DOUBTS`] a zone is kept.
pub fn doubts_key(apex: &Name) -> String {
    hosted_key(apex)
}

/// What was published before it was known whether a copy was the newest.
#[derive(Clone, Debug)]
pub struct HeldDoubt {
    /// For each start since the doubt began that something was published after, oldest first.
    pub partings: Vec<Parting>,
}

/// Where what a primary published leaves the history that it has perhaps forgotten.
#[derive(Clone, Debug)]
pub struct Parting {
    /// The serial of the copy; none where it was begun from a file.
    pub known: Option<Serial>,
    /// The first serial that was published after it.
    pub first: Serial,
    /// The copy as it was, if the store still has it: the version of [`Parting::base_serial`].
    pub base: Option<Zone>,
}

impl HeldDoubt {
    /// Reads what the store has; nothing where the doubt is over, or was never.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut serials = text.strip_prefix("1 ")?.split(' ');
        let mut partings = Vec::new();
        while let Some(known) = serials.next() {
            let known = match known {
                "-" => None,
                serial => Some(Serial(serial.parse().ok()?)),
            };
            partings.push(Parting {
                known,
                first: Serial(serials.next()?.parse().ok()?),
                base: None,
            });
        }
        Some(Self { partings })
    }

    pub(super) fn compose(partings: impl Iterator<Item = (Option<Serial>, Serial)>) -> Vec<u8> {
        let mut text = "1".to_owned();
        for (known, first) in partings {
            let known = known.map_or("-".to_owned(), |known| known.to_string());
            text.push_str(&format!(" {known} {first}"));
        }
        text.into_bytes()
    }
}

impl Parting {
    /// Which version the copy was.
    pub fn base_serial(&self) -> Serial {
        self.known.unwrap_or(self.first)
    }
}

/// The table of the store in which zones are kept that this site was made primary of by command, until the directory says
/// so: by [`hosted_key`], with a value that is empty when that is over; that it is there at all tells that the zone was made here.
pub const HOSTED: &str = "hosted";

/// Under which key of [`HOSTED`] a zone is kept.
pub fn hosted_key(apex: &Name) -> String {
    canonical_text(apex)
}

/// A change that an operator or a program asks for.
#[derive(Clone, Debug)]
pub enum Change {
    /// Replace a zone's contents; the serial is taken care of.
    Replace(Zone),
    /// Put RRsets in the place of those of their owner name and type.
    Put(Name, Vec<(Name, Rrset)>),
    /// Remove RRsets; all of a name where no type is given.
    Delete(Name, Vec<(Name, Option<Rtype>)>),
    /// Anything else, made by other code from the zone's newest version: what it should become, serial aside.
    Edited(Zone),
}

impl Change {
    /// The zone that is changed.
    pub fn apex(&self) -> &Name {
        match self {
            Self::Replace(zone) | Self::Edited(zone) => zone.apex(),
            Self::Put(apex, _) | Self::Delete(apex, _) => apex,
        }
    }
}

/// What happens to the core.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed; comes at the moment that [`Core::next_due`](super::Core::next_due) named, or earlier.
    Tick,
    /// A NOTIFY from a peer that may send one.
    Notify {
        /// The zone.
        apex: Name,
        /// The serial in it, a hint.
        serial: Option<Serial>,
        /// The sender.
        from: PeerId,
    },
    /// A transfer that was asked for has ended.
    Transferred {
        /// The zone.
        apex: Name,
        /// The source that was asked.
        from: PeerId,
        /// What came of it.
        result: Result<Got, Failure>,
        /// For how many seconds the source may still serve the zone, if it said so (RFC 7314).
        expire: Option<u32>,
    },
    /// A commit has ended.
    Committed {
        /// Which.
        commit: CommitId,
        /// Whether it is on disk.
        result: Result<(), String>,
    },
    /// A NOTIFY that was asked for has been answered, or not.
    Notified {
        /// To whom.
        to: PeerId,
        /// The zone.
        apex: Name,
        /// The serial that was told.
        serial: Serial,
        /// Whether it arrived.
        result: Result<(), Failure>,
    },
    /// A probe has ended: the peer's serial of the directory.
    Probed {
        /// Who was asked.
        peer: PeerId,
        /// What it has.
        result: Result<Option<Serial>, Failure>,
        /// What else it said.
        beat: Option<Beat>,
    },
    /// A peer was asked what it has in a section: see [`Output::Compare`].
    Compared {
        /// Who was asked.
        peer: PeerId,
        /// Which section.
        section: Section,
        /// What it has there; none when it does not understand the question.
        result: Result<Option<Listing>, Failure>,
    },
    /// Somebody wants a zone changed at its primary.
    Change {
        /// To answer by.
        request: RequestId,
        /// What.
        change: Change,
    },
    /// An UPDATE of the directory, already checked against policy, as the edit that it makes.
    Directory {
        /// To answer by.
        request: RequestId,
        /// The directory as it should become, serial aside.
        edited: Zone,
        /// Values to be kept in the same commit, such as the state of an invitation: table, key, value.
        also: Vec<(String, String, Vec<u8>)>,
    },
    /// Somebody wants to know when a serial is served everywhere.
    Wait {
        /// To answer by.
        request: RequestId,
        /// The zone.
        apex: Name,
        /// The serial.
        serial: Serial,
    },
    /// Make this site the primary of a zone that the directory does not have yet.
    Host {
        /// To answer by.
        request: RequestId,
        /// Its contents.
        zone: Zone,
        /// The highest serial that was published, where it existed before.
        high_water: Option<Serial>,
    },
    /// Take back a [`Input::Host`] that the directory did not accept.
    Unhost {
        /// The zone.
        apex: Name,
    },
    /// Nobody knows whether the directory took a zone that was hosted by [`Input::Host`]: say it again until it has it.
    Unlisted {
        /// The zone.
        apex: Name,
    },
    /// Nobody waits for this request any longer.
    Forget {
        /// Which.
        request: RequestId,
    },
    /// Ask the sources of a zone now.
    Refresh {
        /// The zone.
        apex: Name,
    },
    /// An operator says what becomes of what is held.
    Decide {
        /// To answer by.
        request: RequestId,
        /// What it is about, as the plan shows it.
        hash: String,
        /// What is said.
        verdict: Verdict,
    },
    /// An operator makes a site the writer of directory and catalog: this one, or, where this one is it, another.
    Promote {
        /// To answer by.
        request: RequestId,
        /// The site.
        to: SiteName,
        /// What the other side of it has answered just now, where it was asked: the site that is handed over to, or the writer
        /// whose place is taken.
        seen: Option<Seen>,
        /// Whether objections are overruled; see [`Core::promotion`](super::Core::promotion).
        force: bool,
    },
    /// The store has looked for an [`Output::Recall`].
    Recalled {
        /// The zone.
        apex: Name,
        /// The version, if it is there still.
        zone: Option<Zone>,
    },
}

/// What the core wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Transfer a zone.
    Transfer {
        /// The zone.
        apex: Name,
        /// From whom.
        from: PeerId,
        /// What is held, to ask for the difference.
        have: Option<Zone>,
    },
    /// Make versions durable, in the order in which commits are asked for.
    Commit {
        /// To answer by.
        commit: CommitId,
        /// The versions, all or none.
        versions: Vec<NewVersion>,
        /// Values that change with them: table, key, value.
        also: Vec<(String, String, Vec<u8>)>,
    },
    /// Serve this version from now on.
    Publish {
        /// The zone.
        spec: ZoneSpec,
        /// The version; none where nothing is held yet.
        zone: Option<Zone>,
        /// The differences that led to it, for IXFR.
        diffs: Vec<Diff>,
        /// Until when it may be served, by the monotonic clock.
        until: Option<Duration>,
    },
    /// Do not serve this zone any longer, and set its data aside where it is the mesh that dropped it.
    Withdraw {
        /// The zone.
        apex: Name,
    },
    /// Keep how a zone's refresh went.
    Keep {
        /// The zone.
        apex: Name,
        /// Until when it may be served, by the monotonic clock: what others are told from now on.
        until: Option<Duration>,
        /// The same in Unix time, for the disk.
        expires_at: Option<i64>,
        /// Unix time of the last success.
        last_refresh: Option<i64>,
    },
    /// Look for an old version of a zone, after all commits that were asked for before: see [`Input::Recalled`].
    Recall {
        /// The zone.
        apex: Name,
        /// Its serial.
        serial: Serial,
    },
    /// Remember a serial that was seen.
    HighWater {
        /// The zone.
        apex: Name,
        /// The serial.
        serial: Serial,
    },
    /// Send a NOTIFY, once.
    Notify {
        /// To whom.
        to: PeerId,
        /// The zone's SOA.
        soa: Record,
        /// The serial in it.
        serial: Serial,
    },
    /// Ask a peer for its SOA of the directory.
    Probe {
        /// Whom.
        peer: PeerId,
    },
    /// Ask a foreign secondary for its SOA of a zone that this site is primary of: a [`Input::Notify`] with its serial comes of it, and
    /// nothing when it does not answer.
    AskSerial {
        /// Whom.
        peer: PeerId,
        /// The zone.
        apex: Name,
    },
    /// Ask a peer what it has in a section of its inventory.
    Compare {
        /// Whom.
        peer: PeerId,
        /// Which section.
        section: Section,
    },
    /// The mesh has changed: who is trusted, and where they are.
    Members(Vec<zonemesh_zone::directory::Site>),
    /// Zones have come from catalogs of foreign servers, or in another way than before: from where. Or they have gone.
    CatalogMembers(Vec<(Name, Option<Arc<MemberOf>>)>),
    /// Have the catalog primary publish this site and its zones in the directory.
    Announce {
        /// The catalog primary.
        to: PeerId,
        /// This site.
        site: zonemesh_zone::directory::Site,
        /// Zones that it is primary of and that the directory does not have.
        zones: Vec<Name>,
    },
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// How it ended.
        reply: Reply,
    },
    /// Tell the user.
    Happened(Happening),
}

/// A version to be made durable.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The version.
    pub zone: Zone,
    /// What leads to it from the version before; none where it replaces everything.
    pub diffs: Vec<Diff>,
    /// Who it was transferred from; none when it was made here.
    pub from: Option<PeerId>,
    /// Who made it here, where somebody asked for it; filled in when the commit is asked for.
    pub by: Option<Author>,
    /// The version before, filled in when the commit is asked for; none where this one may have any serial.
    pub base: Option<Zone>,
    /// Whether it takes the place of what is held whatever its serial: its member node in a catalog is another (RFC 9432 §5.4).
    pub forced: bool,
}

impl NewVersion {
    /// A version that was made here, and the differences that lead to it.
    pub(super) fn made(zone: Zone, diffs: Vec<Diff>) -> Self {
        Self {
            zone,
            diffs,
            from: None,
            by: None,
            base: None,
            forced: false,
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The change is durable and served here.
    Done {
        /// The serial that has it.
        serial: Serial,
        /// Whether anything changed at all.
        changed: bool,
    },
    /// It was not done.
    Refused {
        /// For a requester that speaks DNS.
        rcode: Rcode,
        /// For one that reads.
        reason: String,
    },
    /// A serial is served by every site that should serve it. Until then, see
    /// [`Core::receipt_now`](super::Core::receipt_now).
    Receipt(Receipt),
}

/// Which sites serve a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The zone.
    pub apex: Name,
    /// The serial.
    pub serial: Serial,
    /// Each site that should serve it: after how long it did, or why not yet.
    pub sites: Vec<(PeerId, Result<Duration, String>)>,
    /// Whether all do.
    pub complete: bool,
}

/// Something a user wants to see as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A site became a member.
    SiteJoined(SiteName),
    /// A site is a member no longer.
    SiteLeft(SiteName),
    /// A site has other addresses or keys.
    SiteChanged(SiteName),
    /// A zone came from a source for the first time.
    ZoneLearnt {
        /// The zone.
        apex: Name,
        /// Its serial.
        serial: Serial,
        /// The source.
        from: PeerId,
    },
    /// A newer version came from a source.
    ZoneTransferred {
        /// The zone.
        apex: Name,
        /// What was held before.
        from_serial: Serial,
        /// What is served now.
        serial: Serial,
        /// The source.
        from: PeerId,
        /// Whether as differences.
        incremental: bool,
    },
    /// A change made here is served here.
    ZoneChanged {
        /// The zone.
        apex: Name,
        /// Its serial.
        serial: Serial,
    },
    /// A zone is served here no longer.
    ZoneRemoved(Name),
    /// A change made here is served by every site.
    ServedEverywhere {
        /// The zone.
        apex: Name,
        /// Its serial.
        serial: Serial,
        /// How long after it was served here.
        after: Duration,
        /// How many sites serve it, this one included.
        sites: usize,
    },
    /// No source of a zone could give it.
    TransferFailed {
        /// The zone.
        apex: Name,
        /// The first source that failed.
        from: PeerId,
        /// Why.
        message: String,
    },
    /// A peer does not answer.
    PeerLost {
        /// Which.
        peer: PeerId,
        /// Why.
        message: String,
    },
    /// A peer answers again.
    PeerBack {
        /// Which.
        peer: PeerId,
        /// How long it was away.
        after: Duration,
    },
    /// A peer has a greater serial than the primary of the zone: this site.
    PeerAhead {
        /// The zone.
        apex: Name,
        /// The peer.
        peer: PeerId,
        /// What it has.
        theirs: Serial,
        /// What this site had.
        ours: Serial,
    },
    /// This site and a peer have different contents of a zone under the same serial.
    ContentsDiffer {
        /// The zone.
        apex: Name,
        /// The peer.
        peer: PeerId,
        /// The serial.
        serial: Serial,
    },
    /// What was held of a zone was replaced by other contents with the same serial.
    ContentsReplaced {
        /// The zone.
        apex: Name,
        /// From whom they came.
        from: PeerId,
        /// The serial.
        serial: Serial,
    },
    /// This site is a zone's primary, and has taken what it had forgotten or lost from a peer.
    Recovered {
        /// The zone.
        apex: Name,
        /// The peer.
        from: PeerId,
        /// What was held before, if anything.
        before: Option<Serial>,
        /// What the peer has.
        theirs: Serial,
        /// What is served now: that, or that with what was changed here meanwhile on top.
        serial: Serial,
    },
    /// Another site writes directory and catalog from now on.
    WriterChanged {
        /// Which.
        writer: SiteName,
        /// The epoch that has begun with it.
        epoch: u32,
    },
    /// A peer has a version of directory or catalog by who is the writer no longer, or in another's stead.
    OtherWriter {
        /// The zone.
        apex: Name,
        /// The peer.
        peer: PeerId,
        /// Whose version it is, and whose is held here.
        message: String,
    },
    /// What was written here was set aside, because another site is the writer.
    SetAside {
        /// The zone.
        apex: Name,
        /// What it is called.
        id: String,
        /// How many RRsets it is about.
        changes: usize,
    },
    /// A zone may not be served any longer: no source could be reached for as long as its SOA allows.
    Expired(Name),
    /// Half of the time until a zone expires is over.
    HalfExpired(Name),
    /// A zone that had expired is good again.
    Healed(Name),
    /// Removals wait for an operator.
    Held {
        /// What to approve.
        hash: String,
        /// What is held, and why.
        message: String,
    },
    /// The plan was not carried out, or is empty for a reason that an operator should know.
    Blocked(String),
    /// A clock is off by more than signatures between sites allow.
    ClockWrong(ClockFault),
    /// No clock is wrong any longer, as far as is known.
    ClocksAgree,
    /// The host's clock was set while the site ran, or the host slept.
    ClockSet {
        /// By how many seconds, forward or, when negative, back.
        by_secs: i64,
    },
    /// By the clock it is earlier than when the store last noted a time: the clock was set back while the site was down, or was ahead
    /// before.
    ClockSetBack {
        /// By how many seconds at the least.
        by_secs: i64,
    },
    /// A change could not be made durable.
    CommitFailed {
        /// The zones.
        zones: Vec<Name>,
        /// Why.
        message: String,
    },
}
