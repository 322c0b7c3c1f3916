//! The one thread that writes: it takes the batches that wait, makes them durable together, and answers each.
//!
//! While one group is being flushed the next one gathers, so that many small commits cost one flush. A simulation has to stay
//! in one thread, and does the same without this one.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::{io, thread};

use crate::batch::Batch;
use crate::engine::{Engine, Failure, Health};
use crate::error::{CommitError, EngineError};
use crate::plan::{Histories, History, plan};

type Answer = Result<(), CommitError>;

struct Job {
    batches: Vec<Batch>,
    answers: SyncSender<Vec<Answer>>,
}

/// A handle to the thread; it ends when the handle is dropped, after what was submitted.
pub(crate) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Where whoever commits writes itself, and there is no thread.
    inline: Option<Arc<Engine>>,
    bounds: Bounds,
}

/// How much of the past is kept; can be changed at any time.
type Bounds = Arc<RwLock<Arc<Histories>>>;

impl Writer {
    pub(crate) fn start(engine: Arc<Engine>, history: History) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(QUEUE);
        let bounds = Bounds::new(RwLock::new(Arc::new(history.into())));
        let of_thread = Arc::clone(&bounds);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(&engine, &of_thread, &waiting))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            inline: None,
            bounds,
        })
    }

    /// A writer without a thread: each batch is written by whoever commits it.
    pub(crate) fn inline(engine: Arc<Engine>, history: History) -> io::Result<Self> {
        Ok(Self {
            jobs: None,
            thread: None,
            inline: Some(engine),
            bounds: Bounds::new(RwLock::new(Arc::new(history.into()))),
        })
    }

    /// The same, for a store of which the history does not matter.
    pub(crate) fn over(engine: Arc<Engine>) -> Self {
        Self {
            jobs: None,
            thread: None,
            inline: Some(engine),
            bounds: Bounds::default(),
        }
    }

    /// Keeps so much of the past from now on.
    pub(crate) fn set_histories(&self, histories: Histories) {
        // One value takes the place of another: nothing is left half done where this lock is held.
        let mut bounds = self.bounds.write().unwrap_or_else(PoisonError::into_inner);
        *bounds = Arc::new(histories);
    }

    /// How much of the past is kept.
    pub(crate) fn histories(&self) -> Arc<Histories> {
        histories(&self.bounds)
    }

    /// Waits until each of these batches is durable, or refused; the answers are in their order, and each builds on those before.
    pub(crate) fn commit(&self, batches: Vec<Batch>) -> Vec<Answer> {
        let count = batches.len();
        if let Some(engine) = &self.inline {
            let histories = self.histories();
            return commit(engine, &histories, &batches.iter().collect::<Vec<_>>());
        }
        self.submit(batches).unwrap_or_else(|| {
            let closed = || Err(CommitError::Engine(EngineError::Closed));
            std::iter::repeat_with(closed).take(count).collect()
        })
    }

    /// None when the thread has ended.
    fn submit(&self, batches: Vec<Batch>) -> Option<Vec<Answer>> {
        let (answers, answered) = sync_channel(1);
        self.jobs.as_ref()?.send(Job { batches, answers }).ok()?;
        answered.recv().ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            // The thread catches panics of the database; one of our own was printed when it happened, and who waited
            // for an answer got an error.
        }
    }
}

fn histories(bounds: &Bounds) -> Arc<Histories> {
    Arc::clone(&bounds.read().unwrap_or_else(PoisonError::into_inner))
}

fn run(engine: &Engine, bounds: &Bounds, waiting: &Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let mut batches = first.batches.len();
        let mut group = vec![first];
        while batches < GROUP
            && let Ok(job) = waiting.try_recv()
        {
            batches += job.batches.len();
            group.push(job);
        }
        let all: Vec<&Batch> = group.iter().flat_map(|job| &job.batches).collect();
        let mut answers = commit(engine, &histories(bounds), &all).into_iter();
        for job in &group {
            let own = answers.by_ref().take(job.batches.len()).collect();
            // Who has submitted waits for the answers; the channel has room for them.
            let _gone = job.answers.send(own);
        }
    }
}

/// Makes a group durable; when that fails, each of it on its own, so that one that is too large for the disk does not
/// take others with it.
fn commit(engine: &Engine, history: &Histories, batches: &[&Batch]) -> Vec<Answer> {
    let alone = |batch: &&Batch| together(engine, history, &[batch])?.remove(0);
    if let [batch] = batches {
        return vec![alone(batch)];
    }
    let answers = RefCell::new(Vec::new());
    let done = try_together(engine, history, batches, &answers);
    // A disk that fails while it flushes may have all of it; then nothing of it can be made a second time.
    if done.is_ok() || engine.has_last() {
        return answers.into_inner();
    }
    batches.iter().map(alone).collect()
}

/// Makes a group durable in one transaction, without those of it that are refused.
fn together(
    engine: &Engine,
    history: &Histories,
    batches: &[&Batch],
) -> Result<Vec<Answer>, CommitError> {
    let answers = RefCell::new(Vec::with_capacity(batches.len()));
    try_together(engine, history, batches, &answers)?;
    Ok(answers.into_inner())
}

/// The same; the answers are those that hold when the transaction is stored, whatever the disk has said.
fn try_together(
    engine: &Engine,
    history: &Histories,
    batches: &[&Batch],
    answers: &RefCell<Vec<Answer>>,
) -> Result<(), CommitError> {
    engine.write(|tables| {
        // It may be tried twice.
        let mut all = answers.borrow_mut();
        all.clear();
        for batch in batches {
            match plan(batch, tables, history) {
                Ok(writes) => {
                    tables.apply(writes)?;
                    all.push(Ok(()));
                }
                Err(error) if error.health() == Health::Good => all.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

/// How many batches wait at most; who submits more waits for room.
const QUEUE: usize = 1024;

/// How many batches are made durable together at most: enough that the flush no longer counts, few enough that the
/// first of them does not wait for long.
const GROUP: usize = 256;
