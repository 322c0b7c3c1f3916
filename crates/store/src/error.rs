//! What can go wrong, one enum an operation.

use std::any::Any;
use std::io;
use std::path::PathBuf;

use zonemesh_zone::{Name, Serial};

use crate::codec::Damage;

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory is on a file system whose locks and flushes cannot be relied upon.
    #[error(
        "data directory {} is on a network file system ({kind}), where neither locks nor flushed data can be relied \
         upon; put it on a local disk", path.display()
    )]
    Network {
        /// The directory.
        path: PathBuf,
        /// The kind of file system.
        kind: String,
    },
    /// Another process works with it.
    #[error(
        "data directory {} is in use by {}; stop it, or give this one a directory of its own",
        path.display(), holder(*pid)
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, if it has said so.
        pid: Option<u32>,
    },
    /// It was written by a newer zonemesh.
    #[error(
        "data directory {} has format {found}, this zonemesh knows {known} and older; run the newer one that wrote it",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// It belongs to another site.
    #[error(
        "data directory {} belongs to site `{found}`, not to `{asked}`; check the site's name or the directory",
        path.display()
    )]
    OtherSite {
        /// The directory.
        path: PathBuf,
        /// The site that it belongs to.
        found: String,
        /// The site that was asked for.
        asked: String,
    },
    /// The file is damaged, or is not a store.
    #[error(
        "{} is damaged or not a store: {what}; restore it from a backup, or move it and `lock` away to begin with an \
         empty one: a site of a mesh with `site.key` and `peers.json` then takes everything from the other sites by itself, and \
         one that lacks either has to join again with a new welcome packet", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// It went back to before something that was acknowledged.
    #[error(
        "{} lacks the last {missing} transactions that were acknowledged: the disk has lost them, or an older copy was \
         put in its place; restore a newer copy, or start once with `zonemesh up --accept-damage` to go on without them (a site that \
         knows others, by `peers.json`, goes on by itself and takes from them what it lacks)", path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// How many transactions are missing at least.
        missing: u64,
    },
    /// The disk refuses.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The writer thread cannot be started.
    #[error("cannot start the thread that writes the store")]
    Thread(#[source] io::Error),
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What is stored of a zone is damaged; another zone is not affected. Transfer it again from a peer, with
    /// [`Origin::Forced`](crate::Origin::Forced).
    #[error("the stored data of zone {zone} is damaged: {what}")]
    Corrupt {
        /// The zone.
        zone: Name,
        /// What was found.
        what: String,
    },
    /// A value of a small table is damaged.
    #[error("the stored value `{key}` of table `{table}` is damaged: {what}")]
    CorruptValue {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// What was found.
        what: String,
    },
    /// The database fails.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl OpenError {
    /// Whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// Why a batch was not committed. Nothing of it is stored, and other batches are not affected.
///
/// One case is open by nature: when the disk fails while it flushes, the batch may turn out to be stored when the disk
/// is read again. Who gets an error other than a refusal loads the zone again before going on from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A version made here does not exceed what was shown before.
    #[error(
        "zone {zone}: serial {serial} cannot be published, {high_water} was shown already; publish a greater one \
         (RFC 1982)"
    )]
    NotGreater {
        /// The zone.
        zone: Name,
        /// The serial of the version.
        serial: Serial,
        /// The greatest serial that this site or any peer has shown.
        high_water: Serial,
    },
    /// A transferred version is not newer than the stored one.
    #[error(
        "zone {zone}: {from} delivers serial {serial}, which is not greater than the stored {current}"
    )]
    NotNewer {
        /// The zone.
        zone: Name,
        /// The primary.
        from: String,
        /// The serial that it delivers.
        serial: Serial,
        /// The serial that is stored.
        current: Serial,
    },
    /// A difference does not start from the stored version.
    #[error("zone {zone}: the difference starts from serial {from}, but {current} is stored")]
    WrongStart {
        /// The zone.
        zone: Name,
        /// Where the difference starts.
        from: Serial,
        /// What is stored.
        current: Serial,
    },
    /// A difference does not lead to the version that it was given with.
    #[error("zone {0}: the difference does not lead to the version that is to be stored")]
    WrongDiff(Name),
    /// The zone is not there.
    #[error("zone {0} is not in the store")]
    NoZone(Name),
    /// A zone is to be brought back while there is one of its name.
    #[error("zone {0} exists; remove it before an older one is brought back")]
    ZoneExists(Name),
    /// There is no removed zone of this name.
    #[error("there is no removed zone {0} to bring back")]
    NotRemoved(Name),
    /// What is stored is damaged in a way that forbids to go on from it.
    #[error(transparent)]
    Damaged(ReadError),
    /// The disk is full. The store is whole and takes changes again when there is space.
    #[error("the disk of the data directory is full; the change was not made")]
    Full(#[source] io::Error),
    /// The disk cannot be written. The store is whole and takes changes again when it can.
    #[error("the data directory is read-only; the change was not made")]
    ReadOnly(#[source] io::Error),
    /// The database fails.
    #[error(transparent)]
    Engine(EngineError),
}

impl From<ReadError> for CommitError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Engine(error) => error.into(),
            error => Self::Damaged(error),
        }
    }
}

impl From<EngineError> for CommitError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Io(source) => match source.kind() {
                // EDQUOT is as good as a full disk for whoever is told.
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(source),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    Self::ReadOnly(source)
                }
                _ => Self::Engine(EngineError::Io(source)),
            },
            error => Self::Engine(error),
        }
    }
}

/// How the database fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The disk fails.
    #[error("the disk of the data directory fails")]
    Io(#[source] io::Error),
    /// The structure of the file is damaged.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The database gave up in the middle of an operation; it is opened anew before the next one.
    #[error("the store's database failed: {0}")]
    Failed(String),
    /// The database failed before and has not been opened anew yet.
    #[error("the store's database failed before")]
    FailedBefore,
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

impl EngineError {
    /// What a panic within the database says.
    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        let what = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Self::Failed(what.to_owned())
    }
}

impl From<redb::Error> for EngineError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::PreviousIo => Self::FailedBefore,
            redb::Error::Corrupted(what) => Self::Corrupt(what),
            redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. } => Self::Corrupt(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The database has an error type an operation; all of them end as one of ours.
macro_rules! from_database_errors {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for EngineError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
        impl From<redb::$error> for ReadError {
            fn from(error: redb::$error) -> Self {
                Self::Engine(error.into())
            }
        }
    )*};
}

from_database_errors!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    DatabaseError
);

impl Damage {
    /// Says whose data it is.
    pub(crate) fn of(self, zone: &Name) -> ReadError {
        ReadError::Corrupt {
            zone: zone.clone(),
            what: self.0.into_owned(),
        }
    }
}
