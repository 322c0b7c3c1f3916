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
    /// A commit is reported as done before it is on disk: an fsync forgotten.
    CommitNotDurable,
    /// A NOTIFY that was lost is never sent again.
    NotifyNotRepeated,
    /// A directory that lists no site removes all peers.
    EmptyDirectoryRemoves,
}

impl Bug {
    /// All of them, in the order of the table in the documentation.
    pub const ALL: &'static [Self] = &[
        Self::CommitNotDurable,
        Self::NotifyNotRepeated,
        Self::EmptyDirectoryRemoves,
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
