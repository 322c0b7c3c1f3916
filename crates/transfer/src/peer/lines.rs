//! The connections for transfers: one for each that is under way, up to a bound, and those that are idle first.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::{Connection, How};
use super::{Options, Target};

/// Connections to one peer, made as they are needed; a clone has the same ones.
#[derive(Clone)]
pub(super) struct Lines {
    inner: Arc<Inner>,
}

struct Inner {
    target: Arc<Target>,
    how: How,
    options: Options,
    /// How many there may be.
    most: usize,
    lines: Mutex<Vec<(Connection, Arc<AtomicUsize>)>>,
}

/// A connection that is used for a transfer, until this is dropped.
pub(super) struct Line {
    connection: Connection,
    users: Arc<AtomicUsize>,
}

impl Lines {
    /// Has none yet.
    pub(super) fn new(target: Arc<Target>, how: How, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                target,
                how,
                options,
                most: MOST,
                lines: Mutex::default(),
            }),
        }
    }

    /// Has one for all, on which they do not wait for each other.
    pub(super) fn one(line: &Connection, target: Arc<Target>, how: How, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                target,
                how,
                options,
                most: 1,
                lines: Mutex::new(vec![(line.clone(), Arc::default())]),
            }),
        }
    }

    /// The connection for the next transfer: the first that is free, a new one where none is, and when there are as many as
    /// may be the one with the fewest users.
    pub(super) fn take(&self) -> Line {
        let inner = &self.inner;
        // Nothing is left half done where this lock is held.
        let mut lines = inner.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let users = |line: &(Connection, Arc<AtomicUsize>)| line.1.load(Ordering::Relaxed);
        let least = lines.iter().min_by_key(|line| users(line)).cloned();
        let (connection, users) = match least {
            Some(line) if users(&line) == 0 || lines.len() >= inner.most => line,
            _ => {
                let (target, how) = (inner.target.clone(), inner.how.clone());
                let connection = Connection::new(target, how, inner.options.clone());
                lines.push((connection, Arc::default()));
                lines[lines.len() - 1].clone()
            }
        };
        users.fetch_add(1, Ordering::Relaxed);
        Line { connection, users }
    }

    /// Ends the waiting after failures.
    pub(super) fn wake(&self) {
        let lines = self.inner.lines.lock();
        for (connection, _) in lines.unwrap_or_else(PoisonError::into_inner).iter() {
            connection.wake();
        }
    }
}

impl Line {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({})", self.inner.target)
    }
}

/// Connections for transfers with one peer: as many as there are transfers from one at the same time.
const MOST: usize = 12;
