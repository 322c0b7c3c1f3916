//! Whether this site gets on: whether its core takes events and its disk takes writes. Threads of their own look, so that
//! nothing that hangs keeps it from being seen; what they find is told to members that probe, and to the operator.
//!
//! Nothing is stopped or started anew because of it: answers depend on neither.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;
use zonemesh_api::types::What;

use super::live::Live;
use super::room::Room;
use super::seen::Seen;

/// After how long what is under way counts as stuck.
pub(super) const STUCK: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the core is looked into.
const LOOK_INTO: Duration = Duration::from_secs(3);
/// How often it is looked how much room there is on the disk, and how many times for each write to see whether that works.
const DISK: Duration = Duration::from_secs(5);
const DISK_PER_WRITE: u64 = 6;
/// Changes that may wait for the disk; no more are taken then.
const MOST_WAITING: usize = 256;
/// What may wait for the disk altogether, until notes that repeat themselves are left out.
const MOST_QUEUED: u64 = 10_000;

/// Something that is done again and again: since when it is under way, and when it was last over.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Milliseconds since the start, plus one; zero when nothing is under way.
    began: AtomicU64,
    /// Unix time.
    done: AtomicI64,
}

/// How a site gets on.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    /// The core takes an event.
    core: Step,
    /// The store makes something durable.
    store: Step,
    /// The data directory takes a write.
    disk: Step,
    /// Why the last write to the data directory failed, until one does not.
    disk_error: ArcSwap<Option<String>>,
    /// How much room there is on the disk, when that was last seen.
    room: ArcSwap<Option<Room>>,
    /// Changes that wait for the disk.
    waiting: AtomicUsize,
    /// How much has gone to the store since the start, and of how much of it the store is through.
    sent: AtomicU64,
    through: watch::Sender<u64>,
    /// Notes that were left out because the disk did not keep up.
    left_out: AtomicU64,
    /// What the core looked like.
    seen: ArcSwap<Seen>,
    stop: AtomicBool,
}

/// What is stuck, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) what: Part,
    pub(crate) since: Duration,
}

/// What can be stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Core,
    Store,
    Disk,
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secs = self.since.as_secs();
        match self.what {
            Part::Core => write!(f, "the site has made no decision for {secs} s"),
            Part::Store => write!(f, "the disk has not answered a commit for {secs} s"),
            Part::Disk => write!(
                f,
                "the disk has not answered a write to the data directory for {secs} s"
            ),
        }
    }
}

impl Step {
    fn begin(&self, at: Duration) {
        self.began
            .store(at.as_millis() as u64 + 1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.began.store(0, Ordering::Relaxed);
        self.done
            .store(Timestamp::now().as_second(), Ordering::Relaxed);
    }

    fn under_way(&self, now: Duration) -> Option<Duration> {
        let began = self.began.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_millis(began)))
    }
}

/// # What is under way
impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            core: Step::default(),
            store: Step::default(),
            disk: Step::default(),
            disk_error: ArcSwap::from_pointee(None),
            room: ArcSwap::from_pointee(None),
            waiting: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            through: watch::Sender::new(0),
            left_out: AtomicU64::new(0),
            seen: ArcSwap::from_pointee(Seen::default()),
            stop: AtomicBool::new(false),
        }
    }

    /// Something goes to the store; a change if `is_change`.
    pub(crate) fn to_store(&self, is_change: bool) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.waiting
            .fetch_add(usize::from(is_change), Ordering::Relaxed);
    }

    /// Whether a note that will be made again may go to the store; counted when it may not.
    pub(crate) fn may_note(&self) -> bool {
        let queued = self.sent.load(Ordering::Relaxed) - *self.through.borrow();
        let room = queued < MOST_QUEUED;
        self.left_out.fetch_add(u64::from(!room), Ordering::Relaxed);
        room
    }

    /// The store does something that waited.
    pub(crate) fn store_begins(&self) {
        self.store.begin(self.start.elapsed());
    }

    /// It is over.
    pub(crate) fn store_ends(&self, is_change: bool) {
        self.store.end();
        self.waiting
            .fetch_sub(usize::from(is_change), Ordering::Relaxed);
        self.through.send_modify(|through| *through += 1);
    }

    /// Waits until the store is through with all that went to it before this: what is served is then what is stored.
    ///
    /// # Errors
    ///
    /// When it is not after `patience`; what is said is for the operator.
    pub(crate) async fn stored(&self, patience: Duration) -> Result<(), String> {
        let mut through = self.through.subscribe();
        let sent = self.sent.load(Ordering::Relaxed);
        let caught_up = through.wait_for(|through| *through >= sent);
        match tokio::time::timeout(patience, caught_up).await {
            // The sender is our own.
            Ok(_) => Ok(()),
            Err(_) => Err(format!(
                "the disk does not keep up: what was done before is not stored after {} s",
                patience.as_secs_f32()
            )),
        }
    }

    /// Why no change is taken now, if so.
    pub(crate) fn refuses_changes(&self) -> Option<String> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let stuck = self.store.under_way(self.start.elapsed());
        let stuck = stuck.filter(|since| *since >= STUCK);
        let why = match stuck {
            Some(since) => Stuck {
                what: Part::Store,
                since,
            }
            .to_string(),
            None if waiting >= MOST_WAITING => "the disk does not keep up".to_owned(),
            None => return None,
        };
        Some(format!(
            "{why}: {waiting} changes wait for it, and no more are taken; this one was not made"
        ))
    }

    /// What is stuck.
    pub(crate) fn stuck(&self) -> Vec<Stuck> {
        let now = self.start.elapsed();
        let parts = [
            (Part::Core, &self.core),
            (Part::Store, &self.store),
            (Part::Disk, &self.disk),
        ];
        let stuck = parts.into_iter().filter_map(|(what, step)| {
            let since = step.under_way(now).filter(|since| *since >= STUCK)?;
            Some(Stuck { what, since })
        });
        stuck.collect()
    }

    /// For how long each part has been at what it does, and when it last was done with something, in Unix time.
    pub(crate) fn steps(&self) -> [(&'static str, Duration, i64); 3] {
        let now = self.start.elapsed();
        let parts = [
            ("core", &self.core),
            ("store", &self.store),
            ("disk", &self.disk),
        ];
        parts.map(|(name, step)| {
            let since = step.under_way(now).unwrap_or_default();
            (name, since, step.done.load(Ordering::Relaxed))
        })
    }

    /// Changes that wait for the disk, and notes that were left out.
    pub(crate) fn backlog(&self) -> (usize, u64) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        (waiting, self.left_out.load(Ordering::Relaxed))
    }

    /// Why the data directory cannot be written to, if so.
    pub(crate) fn disk_error(&self) -> Option<String> {
        Option::clone(&self.disk_error.load())
    }

    /// How much room there is on the disk of the data directory, if that could be seen.
    pub(crate) fn room(&self) -> Option<Room> {
        **self.room.load()
    }

    /// What the core looked like some seconds ago at the most, or when it last answered.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }
}

/// The threads that look.
pub(crate) struct Watch {
    live: Arc<Live>,
    threads: Vec<Thread>,
}

impl Progress {
    /// The data directory was written to, with this error.
    fn has_written(&self, dir: &Path, error: Option<std::io::Error>) {
        let path = dir.join("write-probe");
        let now = error.map(|error| format!("{} cannot be written: {error}", path.display()));
        if **self.disk_error.load() != now {
            if let Some(error) = &now {
                tracing::error!(error, "the data directory takes no writes");
            }
            self.disk_error.store(Arc::new(now));
        }
    }
}

impl Watch {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(live: &Arc<Live>) -> std::io::Result<Self> {
        // Held weakly: a thread that hangs in a write must not keep the site's store open.
        let (look, write) = (Arc::downgrade(live), Arc::downgrade(live));
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let looking = thread("progress").spawn(move || look_on(&look))?;
        let writing = thread("disk-probe").spawn(move || write_on(&write))?;
        Ok(Self {
            live: live.clone(),
            threads: vec![looking.thread().clone(), writing.thread().clone()],
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.live.progress.stop.store(true, Ordering::Relaxed);
        // They are not waited for: one may hang with the disk.
        self.threads.iter().for_each(Thread::unpark);
    }
}

/// The site, as long as it goes on.
fn going_on(live: &Weak<Live>) -> Option<Arc<Live>> {
    live.upgrade()
        .filter(|live| !live.progress.stop.load(Ordering::Relaxed))
}

fn look_on(live: &Weak<Live>) {
    let mut before: Vec<Part> = Vec::new();
    let mut next_look = Duration::ZERO;
    while let Some(live) = going_on(live) {
        let progress = &live.progress;
        let now = progress.start.elapsed();
        if now >= next_look && progress.core.under_way(now).is_none() {
            next_look = now + LOOK_INTO;
            progress.core.begin(now);
            let to = Arc::downgrade(&live);
            live.core.glance(move |core, now| {
                if let Some(live) = to.upgrade() {
                    live.progress.seen.store(Arc::new(Seen::of(core, now)));
                    live.progress.core.end();
                }
            });
        }
        let stuck = progress.stuck();
        let longest = stuck.iter().map(|stuck| stuck.since.as_secs()).max();
        let secs = longest.map_or(0, |secs| u16::try_from(secs).unwrap_or(u16::MAX));
        live.shared.stuck.store(secs, Ordering::Relaxed);
        for stuck in stuck.iter().filter(|stuck| !before.contains(&stuck.what)) {
            live.tell(What::Warning {
                zone: None,
                peer: None,
                message: format!("{stuck}; answers go on from memory"),
            });
        }
        let parts: Vec<Part> = stuck.iter().map(|stuck| stuck.what).collect();
        for part in before.iter().filter(|part| !parts.contains(part)) {
            live.tell(What::Healed {
                subject: match part {
                    Part::Core => "the core of this site",
                    Part::Store | Part::Disk => "the disk of the data directory",
                }
                .to_owned(),
                after_secs: STUCK.as_secs(),
            });
        }
        before = parts;
        drop(live);
        std::thread::park_timeout(LOOK);
    }
}

fn write_on(weak: &Weak<Live>) {
    let mut short = None;
    for round in 0.. {
        let Some(live) = going_on(weak) else { return };
        let dir = live.data_dir.clone();
        live.progress.disk.begin(live.progress.start.elapsed());
        drop(live);
        let written = (round % DISK_PER_WRITE == 0).then(|| write(&dir.join("write-probe")));
        // What cannot be seen is no alarm of its own: a disk that fails is told of as such.
        let room = Room::of(&dir).ok();
        let Some(live) = going_on(weak) else { return };
        live.progress.disk.end();
        if let Some(written) = written {
            live.progress.has_written(&dir, written.err());
        }
        live.progress.room.store(Arc::new(room));
        let now = room.as_ref().and_then(Room::short);
        let state = now.as_ref().map(|(short, _)| *short);
        if let Some((_, what)) = now.filter(|_| state > short) {
            live.tell(What::Warning {
                zone: None,
                peer: None,
                message: format!("the disk of {} is filling up: {what}", dir.display()),
            });
        }
        short = state;
        drop(live);
        std::thread::park_timeout(DISK);
    }
}

/// Writes the time to a file, through to the disk.
fn write(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    writeln!(file, "{}", Timestamp::now())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// A step that began so long ago.
    fn began(step: &Step, progress: &mut Progress, ago: Duration) {
        let start = progress.start.checked_sub(ago).unwrap();
        step.begin(Duration::ZERO);
        progress.start = start;
    }

    #[test]
    fn a_commit_that_takes_ten_seconds_is_stuck_and_refuses_changes_until_it_is_over() {
        let mut progress = Progress::new();
        progress.to_store(true);
        progress.store_begins();
        assert_eq!(
            (progress.stuck(), progress.refuses_changes()),
            (vec![], None)
        );
        let store = Step::default();
        began(&store, &mut progress, Duration::from_secs(12));
        progress.store = store;
        let stuck = progress.stuck();
        assert_eq!(stuck.len(), 1);
        assert_eq!(
            stuck[0].to_string(),
            "the disk has not answered a commit for 12 s"
        );
        assert_eq!(
            progress.refuses_changes().unwrap(),
            "the disk has not answered a commit for 12 s: 1 changes wait for it, and no more are taken; this one was not made"
        );
        progress.store_ends(true);
        assert_eq!(
            (progress.stuck(), progress.refuses_changes()),
            (vec![], None)
        );
    }

    #[test]
    fn changes_are_refused_when_too_many_wait_and_notes_are_left_out_when_far_too_much_does() {
        let progress = Progress::new();
        for _ in 0..MOST_WAITING {
            assert_eq!(progress.refuses_changes(), None);
            progress.to_store(true);
        }
        let why = progress.refuses_changes().unwrap();
        assert!(
            why.starts_with("the disk does not keep up: 256 changes wait"),
            "{why}"
        );
        for _ in MOST_WAITING as u64..MOST_QUEUED {
            assert!(progress.may_note());
            progress.to_store(false);
        }
        assert!(!progress.may_note());
        assert_eq!(progress.backlog(), (MOST_WAITING, 1));
        progress.store_begins();
        progress.store_ends(true);
        assert!(progress.may_note() && progress.refuses_changes().is_none());
    }

    #[tokio::test]
    async fn what_the_store_holds_is_looked_at_when_it_is_through_with_what_came_before() {
        let progress = Progress::new();
        assert_eq!(progress.stored(STUCK).await, Ok(()));
        progress.to_store(false);
        progress.to_store(true);
        let mut stored = Box::pin(progress.stored(STUCK));
        assert_eq!((&mut stored).now_or_never(), None);
        progress.store_ends(false);
        assert_eq!((&mut stored).now_or_never(), None);
        // What comes after it is not waited for.
        progress.to_store(true);
        progress.store_ends(true);
        assert_eq!(stored.await, Ok(()));
        // A store that never gets there is told of.
        let why = progress.stored(Duration::from_millis(1)).await.unwrap_err();
        assert!(why.contains("not stored after 0.001 s"), "{why}");
    }
}
