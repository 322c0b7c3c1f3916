//! The database and its moods: opened, failed, opened again.
//!
//! After an error of the disk the database refuses all work until it is opened anew; that is done here, before the
//! next operation. A panic within the database (it may meet damage that it does not expect) ends here, too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::{Database, DatabaseError, Durability, ReadableDatabase};
use zonemesh_planted::{Bug, planted};

use crate::error::{CommitError, EngineError, ReadError};
use crate::place::Notes;
use crate::tables::{Reading, Writing};

/// How the database is opened.
pub(crate) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// The database.
pub(crate) struct Engine {
    opener: Opener,
    /// Readers hold the lock while they read, the writer takes it alone only to open the database anew.
    slot: RwLock<Slot>,
    /// How many transactions were made durable.
    transactions: AtomicU64,
    /// The number of the last transaction that was to be made durable, whatever came of it.
    last: AtomicU64,
    /// Released after the database was closed.
    lock: Option<Box<dyn Notes>>,
}

struct Slot {
    /// None after a failure, until it could be opened again.
    database: Option<Database>,
    /// How often it was opened, so that of two who met the same failure only one opens it anew.
    opened: u64,
    /// Whether it was closed for good.
    closed: bool,
}

/// What an error says about the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It works; the error is about what it holds, or about what was asked.
    Good,
    /// It has to be opened anew.
    Failed,
    /// It had to be opened anew before this operation, which therefore was not tried at all.
    FailedBefore,
}

/// An error that may be one of the database.
pub(crate) trait Failure: From<EngineError> {
    fn health(&self) -> Health;
}

impl Engine {
    /// Opens the database.
    pub(crate) fn open(opener: Opener, lock: Option<Box<dyn Notes>>) -> Result<Self, EngineError> {
        let database = guarded(|| opener().map_err(EngineError::from))?;
        Ok(Self {
            opener,
            slot: RwLock::new(Slot {
                database: Some(database),
                opened: 1,
                closed: false,
            }),
            transactions: AtomicU64::new(0),
            last: AtomicU64::new(u64::MAX),
            lock,
        })
    }

    /// Reads from one consistent state of the database.
    pub(crate) fn read<T, E: Failure>(
        &self,
        read: impl Fn(&Reading) -> Result<T, E>,
    ) -> Result<T, E> {
        self.retrying(|database| {
            let transaction = database.begin_read().map_err(EngineError::from)?;
            read(&Reading::open(&transaction)?)
        })
    }

    /// Changes the database durably, or not at all.
    pub(crate) fn write<T, E: Failure>(
        &self,
        write: impl Fn(&mut Writing<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.retrying(|database| {
            self.last.store(u64::MAX, Ordering::Relaxed);
            let mut transaction = database.begin_write().map_err(EngineError::from)?;
            if planted(Bug::DurableTooEarly) {
                // Refused only where there are savepoints, of which the store makes none.
                let _ = transaction.set_durability(Durability::None);
            }
            // On an error the transaction is dropped, and nothing of it remains.
            let mut tables = Writing::open(&transaction)?;
            let outcome = write(&mut tables)?;
            let count = tables.count()? + 1;
            tables.set_count(count)?;
            drop(tables);
            self.last.store(count, Ordering::Relaxed);
            transaction.commit().map_err(EngineError::from)?;
            if let Some(lock) = &self.lock {
                lock.acknowledge(count);
            }
            self.transactions.fetch_add(1, Ordering::Relaxed);
            Ok(outcome)
        })
    }

    /// Whether the last transaction is stored, although the disk may have failed while it was made durable.
    pub(crate) fn has_last(&self) -> bool {
        let stored = self.read(|tables| tables.count());
        stored.is_ok_and(|count: u64| count >= self.last.load(Ordering::Relaxed))
    }

    /// How many transactions were acknowledged before the store was opened, at least.
    pub(crate) fn acknowledged(&self) -> Option<u64> {
        self.lock.as_ref()?.acknowledged()
    }

    /// How many transactions were made durable so far.
    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Closes the database in order, after what is under way. Whatever is asked from now on is refused.
    pub(crate) fn close(&self) {
        let database = {
            let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
            slot.closed = true;
            slot.database.take()
        };
        // A database that panics here is as one that was not closed: the next start repairs it.
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }

    /// Runs an operation; once more when it met a database that had failed before.
    fn retrying<T, E: Failure>(
        &self,
        operation: impl Fn(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (outcome, opened) = {
                let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
                let outcome = match &slot.database {
                    Some(database) => guarded(|| operation(database)),
                    None if slot.closed => Err(EngineError::Closed.into()),
                    None => Err(EngineError::FailedBefore.into()),
                };
                (outcome, slot.opened)
            };
            let error = match outcome {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            match error.health() {
                Health::Good => return Err(error),
                // If it cannot be opened now, that is tried again before the next operation.
                Health::Failed => return self.reopen(opened).and(Err(error)),
                Health::FailedBefore => {
                    self.reopen(opened)?;
                    if tries > 1 {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn reopen<E: Failure>(&self, opened: u64) -> Result<(), E> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.closed {
            return Err(EngineError::Closed.into());
        }
        if slot.opened == opened {
            slot.database = None;
            slot.opened += 1;
        }
        if slot.database.is_none() {
            slot.database = Some(guarded(|| (self.opener)().map_err(EngineError::from))?);
        }
        Ok(())
    }
}

/// Turns a panic of the database into an error. The state that it leaves behind is dropped with the database.
fn guarded<T, E: From<EngineError>>(operation: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(operation))
        .unwrap_or_else(|payload| Err(EngineError::panicked(payload).into()))
}

impl Failure for EngineError {
    fn health(&self) -> Health {
        match self {
            Self::FailedBefore => Health::FailedBefore,
            Self::Io(_) | Self::Failed(_) => Health::Failed,
            Self::Corrupt(_) | Self::Closed => Health::Good,
        }
    }
}

impl Failure for ReadError {
    fn health(&self) -> Health {
        match self {
            Self::Engine(error) => error.health(),
            Self::Corrupt { .. } | Self::CorruptValue { .. } => Health::Good,
        }
    }
}

impl Failure for CommitError {
    fn health(&self) -> Health {
        match self {
            Self::Full(_) | Self::ReadOnly(_) => Health::Failed,
            Self::Engine(error) => error.health(),
            _ => Health::Good,
        }
    }
}
