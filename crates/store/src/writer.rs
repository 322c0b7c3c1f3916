//! The one thread that writes: it takes the batches that wait, makes them durable together, and answers each.
//!
//! While one group is being flushed the next one gathers, so that many small commits cost one flush. A simulation has to stay
//! in one thread, and does the same without this one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::{io, thread};

use crate::batch::Batch;
use crate::engine::{Engine, Failure, Health};
use crate::error::{CommitError, EngineError};
use crate::plan::{History, plan};

type Answer = Result<(), CommitError>;

struct Job {
    batch: Batch,
    answer: SyncSender<Answer>,
}

/// A handle to the thread; it ends when the handle is dropped, after what was submitted.
pub(crate) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Where whoever commits writes itself, and there is no thread.
    inline: Option<(Arc<Engine>, History)>,
}

impl Writer {
    pub(crate) fn start(engine: Arc<Engine>, history: History) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(&engine, &history, &waiting))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            inline: None,
        })
    }

    /// A writer without a thread: each batch is written by whoever commits it.
    pub(crate) fn inline(engine: Arc<Engine>, history: History) -> io::Result<Self> {
        Ok(Self {
            jobs: None,
            thread: None,
            inline: Some((engine, history)),
        })
    }

    /// Waits until the batch is durable, or refused.
    pub(crate) fn commit(&self, batch: Batch) -> Answer {
        if let Some((engine, history)) = &self.inline {
            return together(engine, history, &[&batch])?.remove(0);
        }
        let closed = || CommitError::Engine(EngineError::Closed);
        let (answer, answered) = sync_channel(1);
        self.jobs
            .as_ref()
            .ok_or_else(closed)?
            .send(Job { batch, answer })
            .map_err(|_| closed())?;
        answered.recv().map_err(|_| closed())?
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

fn run(engine: &Engine, history: &History, waiting: &Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(job) = waiting.try_recv()
        {
            group.push(job);
        }
        let batches: Vec<&Batch> = group.iter().map(|job| &job.batch).collect();
        let answers = commit(engine, history, &batches);
        for (job, answer) in group.iter().zip(answers) {
            // Who has submitted waits for the answer; the channel has room for it.
            let _gone = job.answer.send(answer);
        }
    }
}

/// Makes a group durable; when that fails, each of it on its own, so that one that is too large for the disk does not
/// take others with it.
fn commit(engine: &Engine, history: &History, batches: &[&Batch]) -> Vec<Answer> {
    match together(engine, history, batches) {
        Ok(answers) => answers,
        Err(error) if batches.len() == 1 => vec![Err(error)],
        Err(_) => batches
            .iter()
            .map(|batch| together(engine, history, &[batch])?.remove(0))
            .collect(),
    }
}

/// Makes a group durable in one transaction, without those of it that are refused.
fn together(
    engine: &Engine,
    history: &History,
    batches: &[&Batch],
) -> Result<Vec<Answer>, CommitError> {
    engine.write(|tables| {
        let mut answers = Vec::with_capacity(batches.len());
        for batch in batches {
            match plan(batch, tables, history) {
                Ok(writes) => {
                    tables.apply(writes)?;
                    answers.push(Ok(()));
                }
                Err(error) if error.health() == Health::Good => answers.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    })
}

/// How many batches wait at most; who submits more waits for room.
const QUEUE: usize = 1024;

/// How many batches are made durable together at most: enough that the flush no longer counts, few enough that the
/// first of them does not wait for long.
const GROUP: usize = 256;
