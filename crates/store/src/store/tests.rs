//! A disk that fails at any moment, played by a storage backend that does so when told.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Record, Rrset, Rtype, Ttl};

use super::*;

/// When and how the disk fails.
#[derive(Debug, Default)]
struct Faults {
    /// How many more writes and flushes succeed; without end when negative.
    left: AtomicI64,
    errno: AtomicI32,
}

impl Faults {
    fn after(&self, operations: i64, errno: i32) {
        self.errno.store(errno, Ordering::SeqCst);
        self.left.store(operations, Ordering::SeqCst);
    }

    fn heal(&self) {
        self.left.store(-1, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(io::Error::from_raw_os_error(
                self.errno.load(Ordering::SeqCst),
            ));
        }
        if left > 0 {
            self.left.store(left - 1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Disk {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }
}

fn open(dir: &Path, faults: &Arc<Faults>) -> Store {
    faults.heal();
    let path = place::make_database(dir).unwrap();
    let (file, faults) = (path.clone(), Arc::clone(faults));
    let opener: Opener = Box::new(move || {
        let file = OpenOptions::new().read(true).write(true).open(&file)?;
        builder().create_with_backend(Disk {
            file: FileBackend::new(file)?,
            faults: Arc::clone(&faults),
        })
    });
    Store::start(
        opener,
        dir,
        path,
        "site-a",
        History::default(),
        None,
        Writer::start,
    )
    .unwrap()
}

/// A version with about this much in it.
fn zone(serial: u32, octets: usize) -> Zone {
    let apex = parse_name("example.com").unwrap();
    let mut editor = Editor::new(apex.clone());
    let soa = format!("@ 60 IN SOA ns root {serial} 1 2 3 4");
    editor.add(Record::from_text(&soa, &apex).unwrap()).unwrap();
    let rdata = (0..octets.div_ceil(1000)).map(|n| vec![n as u8; 1000]);
    let set = Rrset::new(Rtype::from_int(65280), Ttl::from_secs(60), rdata);
    editor.put(&apex, set).unwrap();
    editor.finish().unwrap()
}

fn replace(store: &Store, zone: &Zone) -> Result<(), CommitError> {
    store.commit(Batch::new(Timestamp::UNIX_EPOCH).replace(zone, Origin::Local))
}

const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EIO: i32 = 5;

#[test]
fn a_full_disk_refuses_changes_and_takes_them_again_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open(dir.path(), &faults);
    let first = zone(1, 1000);
    replace(&store, &first).unwrap();
    for (errno, full) in [(ENOSPC, true), (EROFS, false)] {
        faults.after(0, errno);
        for _ in 0..3 {
            let error = replace(&store, &zone(100, 50_000)).unwrap_err();
            match full {
                true => assert!(matches!(error, CommitError::Full(_)), "{error:?}"),
                false => assert!(matches!(error, CommitError::ReadOnly(_)), "{error:?}"),
            }
        }
        faults.heal();
        let stored = store.load(first.apex()).unwrap().unwrap();
        assert!(stored.zone.same_contents(&first));
        assert_eq!(stored.high_water, Serial(1));
    }
    replace(&store, &zone(2, 50_000)).unwrap();
}

#[test]
fn wherever_the_disk_fails_there_is_the_old_version_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let mut store = open(dir.path(), &faults);
    let mut current = zone(1, 3000);
    replace(&store, &current).unwrap();
    let (mut failed, mut succeeded) = (0, 0);
    for operations in 0..40 {
        for errno in [ENOSPC, EIO] {
            let new = zone(current.serial().into_int() + 1, 3000 * (1 + operations % 3));
            faults.after(operations as i64, errno);
            let result = replace(&store, &new);
            faults.heal();
            match operations % 2 {
                0 => {}
                _ => {
                    drop(store);
                    store = open(dir.path(), &faults);
                }
            }
            let stored = store.load(current.apex()).unwrap().unwrap();
            match result {
                Ok(()) => {
                    succeeded += 1;
                    assert!(stored.zone.same_contents(&new), "after {operations}");
                }
                Err(error) => {
                    failed += 1;
                    assert!(error.health() != Health::Good, "{error:?}");
                    let either = [&current, &new];
                    assert!(either.iter().any(|zone| stored.zone.same_contents(zone)));
                }
            }
            assert_eq!(stored.high_water, stored.zone.serial());
            current = stored.zone;
        }
    }
    assert!(
        failed > 5 && succeeded > 5,
        "{failed} failed, {succeeded} did not"
    );
}

#[test]
fn batches_together_take_one_flush_and_one_that_is_refused_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open(dir.path(), &faults);
    let before = store.transactions();
    let batch =
        |serial| Batch::new(Timestamp::UNIX_EPOCH).replace(&zone(serial, 100), Origin::Local);
    let answers = store.commit_all(vec![batch(1), batch(3), batch(2), batch(4)]);
    assert_eq!(store.transactions(), before + 1);
    assert!(matches!(
        answers.as_slice(),
        [Ok(()), Ok(()), Err(CommitError::NotGreater { .. }), Ok(())]
    ));
    let stored = store.load(zone(1, 1).apex()).unwrap().unwrap();
    assert_eq!(stored.zone.serial(), Serial(4));
    assert!(store.commit_all(Vec::new()).is_empty());
    assert!(matches!(
        store
            .commit_all(vec![Batch::new(Timestamp::UNIX_EPOCH)])
            .as_slice(),
        [Ok(())]
    ));
}

#[test]
fn wherever_the_disk_fails_under_several_batches_their_answers_say_what_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let mut store = open(dir.path(), &faults);
    let mut last = 1;
    replace(&store, &zone(last, 3000)).unwrap();
    let (mut all, mut some, mut none) = (0, 0, 0);
    for operations in 0..60 {
        let batch = |n| {
            let zone = zone(last + n, 3000 * (1 + operations as usize % 3));
            Batch::new(Timestamp::UNIX_EPOCH).replace(&zone, Origin::Local)
        };
        faults.after(operations, EIO);
        let answers = store.commit_all(vec![batch(1), batch(2), batch(3)]);
        faults.heal();
        if operations % 2 == 1 {
            drop(store);
            store = open(dir.path(), &faults);
        }
        let stored = store.load(zone(1, 1).apex()).unwrap().unwrap();
        let has = stored.zone.serial().into_int();
        let made = answers.iter().rposition(Result::is_ok);
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        match failed {
            0 => all += 1,
            3 => none += 1,
            _ => some += 1,
        }
        // Nothing that was acknowledged is missing, and what was refused for its serial was not stored before it was refused.
        if let Some(made) = made {
            assert!(has > last + made as u32, "{operations}: {has}, {answers:?}");
        }
        for answer in answers {
            let refused = matches!(answer, Err(CommitError::NotGreater { .. }));
            assert!(!refused, "{operations}: {answer:?}");
        }
        last = has;
    }
    println!("{all} times all, {some} times some, {none} times none");
    assert!(all > 0 && none > 0);
}

#[test]
fn a_data_directory_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    let newer = (FORMAT + 1).to_be_bytes().to_vec();
    store
        .inner
        .engine
        .write::<_, EngineError>(|tables| tables.put_meta("format", newer.clone()))
        .unwrap();
    drop(store);
    let error = Store::open(dir.path(), "site-a").err().unwrap();
    assert!(matches!(
        &error,
        OpenError::Newer {
            found: 2,
            known: 1,
            ..
        }
    ));
    let text = error.to_string();
    assert!(
        text.contains("has format 2, this zonemesh knows 1"),
        "{text}"
    );
}

#[test]
fn a_panic_of_the_database_is_an_error_and_the_next_operation_works() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    let outcome: Result<(), EngineError> = store.inner.engine.read(|_| panic!("deliberately"));
    let error = outcome.unwrap_err().to_string();
    assert_eq!(error, "the store's database failed: deliberately");
    replace(&store, &zone(1, 1000)).unwrap();
}

/// Whether the database has to repair its file when it opens it: a bit of its header.
fn has_to_be_repaired(dir: &Path) -> bool {
    let file = std::fs::read(dir.join(place::DATABASE)).unwrap();
    file[9] & 0x02 != 0
}

#[test]
fn a_store_that_is_closed_is_closed_in_order_whoever_still_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    replace(&store, &zone(1, 1000)).unwrap();
    assert!(has_to_be_repaired(dir.path()));
    let other = store.clone();
    store.close();
    assert!(!has_to_be_repaired(dir.path()));
    let refused = replace(&other, &zone(2, 1000)).unwrap_err();
    assert!(
        matches!(refused, CommitError::Engine(EngineError::Closed)),
        "{refused}"
    );
    assert!(other.zones().is_err());
    // Once more does no harm, and nothing has opened it again.
    other.close();
    assert!(!has_to_be_repaired(dir.path()));
    drop((store, other));
    let store = Store::open(dir.path(), "site-a").unwrap();
    let stored = store.load(zone(1, 0).apex()).unwrap().unwrap();
    assert_eq!(stored.zone.serial(), Serial(1));
}

#[test]
fn what_a_batch_has_written_and_replaced_itself_is_gone_and_what_it_has_removed_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    let chunks = || {
        let count = |tables: &crate::tables::Reading| Ok::<u64, EngineError>(tables.chunk_count());
        store.inner.engine.read(count).unwrap()
    };
    let forced = || Origin::Forced {
        from: "site-b".to_owned(),
    };
    let batch = Batch::new(Timestamp::UNIX_EPOCH);
    let batch = batch.replace(&many(1, 9_000), Origin::Local);
    store
        .commit(batch.replace(&many(2, 3_000), forced()))
        .unwrap();
    let one = chunks();
    assert!(one > 0);
    let again = Batch::new(Timestamp::UNIX_EPOCH).replace(&many(3, 3_000), forced());
    store.commit(again).unwrap();
    assert_eq!(chunks(), one, "nothing was left of the first");

    let apex = parse_name("example.com").unwrap();
    let last = many(4, 9_000);
    let batch = Batch::new(Timestamp::UNIX_EPOCH).replace(&last, forced());
    store.commit(batch.remove_zone(&apex)).unwrap();
    store
        .commit(Batch::new(Timestamp::UNIX_EPOCH).restore_zone(&apex))
        .unwrap();
    let stored = store.load(&apex).unwrap().unwrap();
    assert!(stored.zone.same_contents(&last));
    store
        .commit(Batch::new(Timestamp::UNIX_EPOCH).remove_zone(&apex))
        .unwrap();
    store.purge_removed(Timestamp::MAX).unwrap();
    assert_eq!(chunks(), 0);
}

/// A version with so many names.
fn many(serial: u32, names: u32) -> Zone {
    let apex = parse_name("example.com").unwrap();
    let mut editor = zone(serial, 0).edit();
    for number in 0..names {
        let text = format!("name-{number} 60 TXT \"some text for it\"");
        editor
            .add(Record::from_text(&text, &apex).unwrap())
            .unwrap();
    }
    editor.finish().unwrap()
}
