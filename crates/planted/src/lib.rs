//! Mistakes that can be planted in the product on purpose, to prove that the simulation finds each of them.
//!
//! The product asks [`planted`] where a mistake of that kind would be made. Without the feature `on` the answer is a constant
//! `false` and nothing of the mistake is compiled into the program; the binary refuses to be built with it. With the feature,
//! `plant` says which one the current thread makes: a simulated mesh is one thread.
//!
//! Nothing here does anything by itself, and there is no way to plant a mistake by configuration, environment or command line.

/// Whether mistakes can be planted in this build.
pub const ON: bool = cfg!(feature = "on");

/// A mistake of a kind that really happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A change is acknowledged when its commit is asked for, not when it is on disk.
    AnswerBeforeCommit,
    /// A deletion is acknowledged and not made.
    DeletionForgotten,
    /// A commit that failed is taken for one that succeeded.
    FailureTakenForSuccess,
    /// What could not be stored takes what is served out of service.
    StopsOnFullDisk,
    /// The store's flushes do nothing.
    FlushSkipped,
    /// The store says that a change is durable before it has flushed it.
    DurableTooEarly,
    /// What a change removes stays in the digest of the zone.
    DigestNotKeptUp,
    /// A site that holds something else than others does not look what it is.
    DifferenceIgnored,
    /// What could not be stored stays the version that the next change is made of.
    HeadNotTakenBack,
    /// A difference starts from what is served, not from the version that was decided last.
    DifferenceFromWrongVersion,
    /// Of several differences the last is applied to what is held, not to what the others lead to.
    DifferenceToWrongVersion,
    /// A file that is edited is published with the serial that its author wrote, whatever was published before.
    SerialReused,
    /// A secondary takes an older version than it has when a source offers one.
    OlderVersionTaken,
    /// A NOTIFY that was lost is never sent again.
    NotifyNotRepeated,
    /// A NOTIFY that was not answered is repeated at once.
    NotifyWithoutBackoff,
    /// A secondary does not tell the primary what it serves.
    ReceiptNotSent,
    /// A receipt counts a site that serves any version of the zone.
    ReceiptFromWrongSerial,
    /// A transfer that failed is tried again at once.
    RetryWithoutFloor,
    /// A zone that cannot be refreshed keeps the timers of others from being looked at.
    ErrorStopsOthers,
    /// A restart forgets when zones expire.
    TimerLostOverRestart,
    /// A zone is served beyond its expiry.
    ExpiryNotHonoured,
    /// A secondary takes what another secondary has for as fresh as from the primary (RFC 7314).
    AgeForgotten,
    /// A source that lacks a zone makes a secondary remove it.
    LackTakenForRemoval,
    /// A site answers as soon as it has the catalog, whatever zones it lacks.
    ReadyTooEarly,
    /// A directory that lists no site removes all peers.
    EmptyDirectoryRemoves,
    /// A catalog that cannot be read removes all its members.
    BrokenCatalogRemoves,
    /// Whatever is removed at once, nothing is held.
    BrakeNotConsulted,
    /// A site that was removed stays trusted.
    DepartedKept,
    /// A tombstone is not taken for consent to what leaves with its site.
    TombstoneIgnored,
    /// A zone that was removed from the mesh is served on.
    RemovedZoneKept,
    /// A site that moved is looked for where it was.
    StaleAddressKept,
    /// A plan does again what is done already.
    PlanNeverEmpty,
    /// A site that sees nobody takes itself for the catalog primary.
    SelfPromotion,
    /// A restart, or a zone that comes again, forgets the highest serial that was published or seen.
    HighWaterForgotten,
    /// A primary takes the copy that it starts with for the newest, whatever others have.
    OldCopyTrusted,
    /// A primary takes from a peer what is ahead of it, also when all have shown what they have.
    DoubtNeverEnds,
    /// A site that is promoted goes on in the epoch that there is.
    EpochNotRaised,
    /// A writer takes another that came later for one that came before it.
    LaterEpochIgnored,
    /// The greater serial counts, whichever writer it comes from.
    EarlierEpochTaken,
    /// A site that was the writer once is it again, because its configuration says so.
    RoleByConfiguration,
    /// What the loser of two writers wrote is not set aside.
    YieldedDropped,
    /// The directory is taken from any site, not only from those whose role it is to hold it.
    DirectoryFromAnyone,
    /// A member may claim zones that belong to another.
    UpdateOfOthers,
    /// An edit that takes the epoch out of directory or catalog is accepted.
    EpochEditedOut,
}

impl Bug {
    /// All of them, in the order of the table in the documentation.
    pub const ALL: &'static [Self] = &[
        Self::AnswerBeforeCommit,
        Self::DeletionForgotten,
        Self::FailureTakenForSuccess,
        Self::StopsOnFullDisk,
        Self::FlushSkipped,
        Self::DurableTooEarly,
        Self::HeadNotTakenBack,
        Self::DifferenceFromWrongVersion,
        Self::DifferenceToWrongVersion,
        Self::SerialReused,
        Self::OlderVersionTaken,
        Self::NotifyNotRepeated,
        Self::NotifyWithoutBackoff,
        Self::ReceiptNotSent,
        Self::ReceiptFromWrongSerial,
        Self::RetryWithoutFloor,
        Self::ErrorStopsOthers,
        Self::TimerLostOverRestart,
        Self::ExpiryNotHonoured,
        Self::AgeForgotten,
        Self::LackTakenForRemoval,
        Self::ReadyTooEarly,
        Self::EmptyDirectoryRemoves,
        Self::BrokenCatalogRemoves,
        Self::BrakeNotConsulted,
        Self::DepartedKept,
        Self::TombstoneIgnored,
        Self::RemovedZoneKept,
        Self::StaleAddressKept,
        Self::PlanNeverEmpty,
        Self::SelfPromotion,
        Self::DigestNotKeptUp,
        Self::DifferenceIgnored,
        Self::HighWaterForgotten,
        Self::OldCopyTrusted,
        Self::DoubtNeverEnds,
        Self::EpochNotRaised,
        Self::LaterEpochIgnored,
        Self::EarlierEpochTaken,
        Self::RoleByConfiguration,
        Self::YieldedDropped,
        Self::DirectoryFromAnyone,
        Self::UpdateOfOthers,
        Self::EpochEditedOut,
    ];
}

/// Whether this mistake is to be made. Never, without the feature `on`.
#[cfg(not(feature = "on"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// Whether this mistake is to be made: whether this thread has planted it.
#[cfg(feature = "on")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Has the current thread make this mistake from now on, and no other.
#[cfg(feature = "on")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "on")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}
