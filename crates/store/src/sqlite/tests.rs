use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use futures::FutureExt;
use rusqlite::Connection;
use tempfile::TempDir;

use super::schema::beside;
use super::*;
use crate::suite::{Fixture, put};

const VOLUME: Kind = "volume";

/// A folder with the path of a store in it.
struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        Place { _folder: folder, path }
    }

    /// With a closed store of `records` records.
    async fn filled(records: u32) -> Place {
        let place = Place::new();
        let store = SqliteStore::open(&place.path).unwrap();
        let fence = store.acquire("test").await.unwrap().fence;
        let keys = (0..records).map(|number| Key::new(VOLUME, format!("{number:06}")));
        store.commit(fence, keys.map(|key| put(&key, None, &[b'v'; 300])).collect()).await.unwrap();
        place
    }

    /// Expects a refusal that leaves the bytes of all files as they were, and returns its words.
    fn refused(&self) -> String {
        let before = self.contents();
        let error = SqliteStore::open(&self.path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert_eq!(before, self.contents());
        error.to_string()
    }

    fn contents(&self) -> Vec<Option<Vec<u8>>> {
        let read = |suffix| fs::read(beside(&self.path, suffix)).ok();
        let log = read("-wal").filter(|bytes| !bytes.is_empty());
        vec![read(""), log]
    }
}

async fn open() -> Fixture {
    let place = Place::new();
    Fixture::new(Arc::new(SqliteStore::open(&place.path).unwrap()), place)
}

crate::run_against!(open);

#[tokio::test]
async fn a_reopened_store_has_its_records_and_no_old_lease() {
    let place = Place::new();
    let store = SqliteStore::open(&place.path).unwrap();
    let old = store.acquire("a").await.unwrap();
    let key = Key::new(VOLUME, "x");
    let revision = store.commit(old.fence, vec![put(&key, None, b"1")]).await.unwrap();
    drop(store);
    assert!(!beside(&place.path, "-wal").exists(), "a closed store is one file");

    let store = SqliteStore::open(&place.path).unwrap();
    assert_eq!(store.find(&key).await.unwrap().unwrap().revision, revision);
    assert!(matches!(store.commit(old.fence, vec![]).await, Err(StoreError::Fenced { .. })));
    let new = store.acquire("b").await.unwrap();
    assert!(new.fence > old.fence);
    let next = store.commit(new.fence, vec![put(&key, Some(revision), b"2")]).await.unwrap();
    assert!(next > revision);
}

#[tokio::test]
async fn only_the_owner_may_read_a_new_store() {
    let place = Place::new();
    let path = place.path.with_file_name("deep").join("er").join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.acquire("a").await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(&beside(&path, suffix)), 0o600, "{suffix}");
    }
}

#[tokio::test]
async fn a_second_instance_is_refused_and_told_who_has_the_store() {
    let place = Place::new();
    let store = SqliteStore::open(&place.path).unwrap();
    store.acquire("host-a").await.unwrap();
    let error = SqliteStore::open(&place.path).unwrap_err();
    assert!(matches!(error, StoreError::Held { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("host-a") && words.contains(&std::process::id().to_string()), "{words}");
    drop(store);
    SqliteStore::open(&place.path).unwrap();
}

#[tokio::test]
async fn an_instance_that_got_past_the_lock_file_fences_the_first() {
    let place = Place::new();
    let first = SqliteStore::open(&place.path).unwrap();
    let lease = first.acquire("a").await.unwrap();
    fs::remove_file(beside(&place.path, ".lock")).unwrap();
    let _second = SqliteStore::open(&place.path).unwrap();
    let key = Key::new(VOLUME, "x");
    let late = first.commit(lease.fence, vec![put(&key, None, b"1")]).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_do_not_wait_for_a_writer() {
    let place = Place::new();
    let store = Arc::new(SqliteStore::open(&place.path).unwrap());
    let fence = store.acquire("a").await.unwrap().fence;
    let key = Key::new(VOLUME, "x");
    let old = store.commit(fence, vec![put(&key, None, b"1")]).await.unwrap();
    // As if the writer's transaction took long.
    let slow = Connection::open(&place.path).unwrap();
    slow.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commit = tokio::spawn({
        let (store, key) = (Arc::clone(&store), key.clone());
        async move { store.commit(fence, vec![put(&key, Some(old), b"2")]).await }
    });
    for _ in 0..100 {
        assert_eq!(store.find(&key).await.unwrap().unwrap().revision, old);
        assert_eq!(store.list(VOLUME).await.unwrap().len(), 1);
    }
    assert!(!commit.is_finished());
    slow.execute_batch("ROLLBACK").unwrap();
    commit.await.unwrap().unwrap();
}

#[tokio::test]
async fn commits_that_wait_share_a_flush() {
    const COMMITS: usize = 256;
    const PAGE: u64 = 4096;
    let place = Place::new();
    let store = SqliteStore::open(&place.path).unwrap();
    let fence = store.acquire("a").await.unwrap().fence;
    let log = || fs::metadata(beside(&place.path, "-wal")).unwrap().len();
    let before = log();
    // Until this ends, the first transaction waits, and the rest behind it.
    let slow = Connection::open(&place.path).unwrap();
    slow.execute_batch("BEGIN IMMEDIATE").unwrap();
    let keys = (0..COMMITS).map(|number| Key::new(VOLUME, format!("{number}"))).collect::<Vec<_>>();
    let commits = keys.iter().map(|key| store.commit(fence, vec![put(key, None, b"v")]));
    // Else tokio lets a task do only so much at once, and not all are queued by the first poll.
    let mut commits = tokio::task::unconstrained(futures::future::join_all(commits));
    assert!(futures::poll!(&mut commits).is_pending());
    slow.execute_batch("ROLLBACK").unwrap();
    let revisions = commits.await.into_iter().map(|result| result.unwrap()).collect::<Vec<_>>();
    assert!(revisions.is_sorted_by(|left, right| left < right), "in the order they were asked for");
    // Each transaction writes the page of the head once, and a page or more of records.
    let pages = (log() - before) / PAGE;
    assert!(pages < COMMITS as u64 / 4, "{pages} pages for {COMMITS} commits");
}

#[tokio::test]
async fn a_long_log_is_folded_into_the_file() {
    let place = Place::new();
    let store = SqliteStore::open(&place.path).unwrap();
    let fence = store.acquire("a").await.unwrap().fence;
    for number in 0..60 {
        let key = Key::new(VOLUME, format!("{number}"));
        store.commit(fence, vec![put(&key, None, &vec![1; 1 << 20])]).await.unwrap();
    }
    let log = fs::metadata(beside(&place.path, "-wal")).unwrap().len();
    assert!(log < 32 << 20, "60 MiB were written, the log has {log} bytes");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_kept() {
    let write = |bytes: &[u8]| {
        let place = Place::new();
        fs::write(&place.path, bytes).unwrap();
        place
    };
    assert!(write(b"").refused().contains("the file is empty"));
    assert!(write(b"{\"volumes\": []}").refused().contains("not a SQLite database"));
    assert!(write(&[0; 8192]).refused().contains("not a SQLite database"));

    let place = Place::new();
    Connection::open(&place.path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(place.refused().contains("another program"));
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_with_advice() {
    let place = Place::filled(1).await;
    Connection::open(&place.path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let words = place.refused();
    assert!(words.contains("its format is 9") && words.contains("run the version that wrote it"), "{words}");
}

#[tokio::test]
async fn a_store_without_its_tables_is_refused() {
    for damage in ["DROP TABLE record", "DROP TABLE head", "DELETE FROM head"] {
        let place = Place::filled(1).await;
        Connection::open(&place.path).unwrap().execute_batch(damage).unwrap();
        place.refused();
    }
}

#[tokio::test]
async fn a_log_without_its_file_is_refused() {
    let place = Place::new();
    fs::write(beside(&place.path, "-wal"), [1; 100]).unwrap();
    assert!(place.refused().contains("the file is gone"));
    assert!(!place.path.exists());
}

#[tokio::test]
async fn a_truncated_store_is_refused_and_kept() {
    let place = Place::filled(200).await;
    let whole = fs::read(&place.path).unwrap();
    for length in [10, 99, 100, 512, 4095, 4096, 4097, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(&place.path, &whole[..length]).unwrap();
        let words = place.refused();
        assert!(words.contains("from a backup"), "{words}");
    }
    fs::write(&place.path, &whole).unwrap();
    SqliteStore::open(&place.path).unwrap();
}

/// Whatever byte is altered: the store refuses, or the byte was one that means nothing.
#[tokio::test]
async fn an_altered_byte_is_noticed_wherever_it_matters() {
    let place = Place::filled(100).await;
    let whole = fs::read(&place.path).unwrap();
    let before = SqliteStore::open(&place.path).unwrap().list(VOLUME).await.unwrap();
    let mut refused = 0;
    // A step that meets every part of a page, in the end.
    for position in (0..whole.len()).step_by(97) {
        let mut altered = whole.clone();
        altered[position] ^= 0x55;
        fs::write(&place.path, &altered).unwrap();
        match SqliteStore::open(&place.path) {
            Err(StoreError::Damaged { .. }) => {
                assert!(fs::read(&place.path).unwrap() == altered, "byte {position}: the file was changed");
                refused += 1;
            }
            Err(other) => panic!("byte {position}: {other:?}"),
            Ok(store) => assert_eq!(store.list(VOLUME).await.unwrap(), before, "byte {position}"),
        }
    }
    assert!(refused > 100, "{refused}");
}

#[tokio::test]
async fn a_torn_log_gives_the_commits_before_the_tear() {
    const COMMITS: usize = 40;
    let live = Place::new();
    let store = SqliteStore::open(&live.path).unwrap();
    let fence = store.acquire("a").await.unwrap().fence;
    let mut ends = Vec::new();
    for number in 0..COMMITS {
        let pair = ["l", "r"].map(|side| Key::new(VOLUME, format!("{number:03}{side}")));
        store.commit(fence, pair.iter().map(|key| put(key, None, &[1; 900])).collect()).await.unwrap();
        ends.push(fs::metadata(beside(&live.path, "-wal")).unwrap().len());
    }
    let [Some(file), Some(log)] = &live.contents()[..] else { panic!("a file and a log") };
    let mut outcomes = BTreeMap::new();
    for length in (0..=log.len()).rev().step_by(1999).chain([log.len() - 1, log.len() - 4097]) {
        let place = Place::new();
        fs::write(&place.path, file).unwrap();
        // The rest as an earlier use of the same blocks may have left it.
        let mut torn = log[..length].to_vec();
        torn.resize(log.len(), 0xaa);
        fs::write(beside(&place.path, "-wal"), torn).unwrap();
        let found = SqliteStore::open(&place.path).unwrap().list(VOLUME).await.unwrap();
        let whole = ends.iter().filter(|end| **end <= length as u64).count();
        assert_eq!(found.len(), 2 * whole, "a log of {length} bytes");
        for (index, entry) in found.iter().enumerate() {
            let side = if index % 2 == 0 { "l" } else { "r" };
            assert_eq!(*entry.key.id, format!("{:03}{side}", index / 2));
        }
        outcomes.insert(length, whole);
    }
    assert!(outcomes.values().max() == Some(&COMMITS) && outcomes.values().min() == Some(&0), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_commits_until_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can mount a small file system");
        return;
    }
    let disk = SmallDisk::mount();
    let path = disk.folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let fence = store.acquire("a").await.unwrap().fence;
    let filler = disk.folder.path().join("filler");
    let mut kept = Vec::new();
    for round in 0..3 {
        // The kernel's answer at the limit, whatever fits until then.
        fs::write(&filler, vec![0; 16 << 20]).unwrap_err();
        let mut refusals = 0;
        for number in 0..8 {
            let key = Key::new(VOLUME, format!("{round}-{number}"));
            match store.commit(fence, vec![put(&key, None, &vec![1; 100_000])]).await {
                Ok(_) => kept.push(key),
                Err(StoreError::Unavailable { operation: "commit", .. }) => refusals += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(refusals > 0);
        assert_eq!(store.list(VOLUME).await.unwrap().len(), kept.len(), "reads go on");
        fs::remove_file(&filler).unwrap();
        let key = Key::new(VOLUME, format!("{round}-after"));
        store.commit(fence, vec![put(&key, None, b"v")]).await.unwrap();
        kept.push(key);
    }
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    for key in &kept {
        assert!(store.find(key).await.unwrap().is_some(), "{key}");
    }
    assert_eq!(store.list(VOLUME).await.unwrap().len(), kept.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_store_finishes_what_was_queued() {
    let place = Place::new();
    let store = SqliteStore::open(&place.path).unwrap();
    let fence = store.acquire("a").await.unwrap().fence;
    for number in 0..500 {
        let write = vec![put(&Key::new(VOLUME, format!("{number}")), None, b"v")];
        // Polled once, which queues it.
        let _ = tokio::task::unconstrained(store.commit(fence, write)).now_or_never();
    }
    drop(store);
    let store = SqliteStore::open(&place.path).unwrap();
    assert_eq!(store.list(VOLUME).await.unwrap().len(), 500);
}

/// A file system of one MiB that goes away with it.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> SmallDisk {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path());
        assert!(command.status().unwrap().success());
        SmallDisk { folder }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: after a failed test the store may still have the file open.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
