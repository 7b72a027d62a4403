//! What every store must do, as tests that run against each.
#![allow(clippy::unwrap_used, reason = "these are tests, also where another crate runs them")]

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};

use crate::{Change, Entry, Fence, Key, Kind, Revision, Store, StoreError, Write};

const VOLUME: Kind = "volume";
const NODE: Kind = "node";

/// A fresh store and what must outlive it.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    pub limits: Limits,
    _keep: Box<dyn Any + Send>,
}

/// What a store takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a value.
    pub largest: usize,
    /// Changes that a watcher may be behind.
    pub behind: usize,
}

impl Fixture {
    pub fn new(store: Arc<dyn Store>, keep: impl Any + Send) -> Fixture {
        let limits = Limits { largest: 3 << 20, behind: crate::feed::CAPACITY };
        Fixture { store, limits, _keep: Box::new(keep) }
    }

    pub fn with_limits(self, limits: Limits) -> Fixture {
        Fixture { limits, ..self }
    }
}

/// Makes a test of each function of the suite, with the fixture of `$open`, or `None` where it cannot run.
#[macro_export]
macro_rules! run_against {
    ($open:path) => {
        $crate::run_against!($open, fixture, (fixture.store.clone()):
            a_record_is_created_found_changed_and_deleted,
            a_record_is_created_only_once,
            a_write_with_an_old_revision_conflicts_and_names_the_record,
            deleting_what_is_absent_is_no_change,
            several_writes_happen_together_or_not_at_all,
            a_write_sees_those_before_it_in_the_same_commit,
            an_empty_commit_changes_nothing,
            a_stale_fence_is_refused_before_any_conflict,
            an_ordered_commit_is_seen_at_once_and_checked_as_any_other,
            a_lease_has_one_holder_and_its_number_grows,
            releasing_twice_is_harmless_and_releasing_for_another_does_nothing,
            records_are_listed_by_id_and_only_their_kind,
            concurrent_commits_each_get_a_revision_of_their_own,
            concurrent_writers_of_one_record_lose_no_update,
            a_dropped_commit_happens_wholly_or_not_at_all,
            a_watcher_sees_its_kind_in_order,
        );
        $crate::run_against!($open, fixture, (fixture.store.clone(), fixture.limits):
            values_of_any_bytes_and_ids_of_any_letters_come_back,
            a_slow_watcher_is_told_and_goes_on,
        );
    };
    ($open:path, $fixture:ident, $parts:tt: $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let opened: Option<$crate::suite::Fixture> = $open().await.into();
                if let Some($fixture) = opened {
                    $crate::suite::$name $parts.await;
                }
            }
        )*
    };
}

pub fn put(key: &Key, expected: Option<Revision>, value: &[u8]) -> Write {
    Write { key: key.clone(), expected, value: Some(value.into()) }
}

pub fn delete(key: &Key, expected: Option<Revision>) -> Write {
    Write { key: key.clone(), expected, value: None }
}

pub async fn an_ordered_commit_is_seen_at_once_and_checked_as_any_other(store: Arc<dyn Store>) {
    let lease = store.acquire("a").await.unwrap();
    let key = Key::new(VOLUME, "v");
    let first = store.commit_ordered(lease.fence, vec![put(&key, None, b"1")]).await.unwrap();
    assert_eq!(&*store.find(&key).await.unwrap().unwrap().value, b"1");
    let conflict = store.commit_ordered(lease.fence, vec![put(&key, None, b"2")]).await.unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict { .. }), "{conflict}");
    let second = store.commit(lease.fence, vec![put(&key, Some(first), b"3")]).await.unwrap();
    assert!(second > first);
    let stale = store
        .commit_ordered(Fence(lease.fence.0 - 1), vec![put(&key, Some(second), b"4")])
        .await
        .unwrap_err();
    assert!(matches!(stale, StoreError::Fenced { .. }), "{stale}");
    assert_eq!(&*store.find(&key).await.unwrap().unwrap().value, b"3");
}

pub async fn a_record_is_created_found_changed_and_deleted(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let key = Key::new(VOLUME, "a");
    assert_eq!(store.find(&key).await.unwrap(), None);

    let first = store.commit(fence, vec![put(&key, None, b"1")]).await.unwrap();
    let second = store.commit(fence, vec![put(&key, Some(first), b"2")]).await.unwrap();
    assert!(second > first);
    let expected = Entry { key: key.clone(), value: b"2".as_slice().into(), revision: second };
    assert_eq!(store.find(&key).await.unwrap(), Some(expected));

    let third = store.commit(fence, vec![delete(&key, Some(second))]).await.unwrap();
    assert!(third > second);
    assert_eq!(store.find(&key).await.unwrap(), None);
    let fourth = store.commit(fence, vec![put(&key, None, b"3")]).await.unwrap();
    assert!(fourth > third);
}

pub async fn a_record_is_created_only_once(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let key = Key::new(VOLUME, "a");
    let revision = store.commit(fence, vec![put(&key, None, b"1")]).await.unwrap();
    assert_conflict(store.commit(fence, vec![put(&key, None, b"2")]).await, &key, None, Some(revision));
    assert_eq!(&*store.find(&key).await.unwrap().unwrap().value, b"1");
}

pub async fn a_write_with_an_old_revision_conflicts_and_names_the_record(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let key = Key::new(VOLUME, "a");
    let old = store.commit(fence, vec![put(&key, None, b"1")]).await.unwrap();
    let new = store.commit(fence, vec![put(&key, Some(old), b"2")]).await.unwrap();
    assert_conflict(store.commit(fence, vec![put(&key, Some(old), b"3")]).await, &key, Some(old), Some(new));
    assert_conflict(store.commit(fence, vec![delete(&key, Some(old))]).await, &key, Some(old), Some(new));
    assert_conflict(store.commit(fence, vec![delete(&key, None)]).await, &key, None, Some(new));
    store.commit(fence, vec![delete(&key, Some(new))]).await.unwrap();
    assert_conflict(store.commit(fence, vec![put(&key, Some(new), b"4")]).await, &key, Some(new), None);
}

pub async fn deleting_what_is_absent_is_no_change(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let key = Key::new(VOLUME, "a");
    let mut changes = store.watch(VOLUME).await.unwrap();
    store.commit(fence, vec![delete(&key, None)]).await.unwrap();
    let revision = store.commit(fence, vec![put(&key, None, b"1")]).await.unwrap();
    assert_eq!(next(&mut changes).await, put_change(&key, b"1", revision));
}

pub async fn several_writes_happen_together_or_not_at_all(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let [a, b, c] = ["a", "b", "c"].map(|id| Key::new(VOLUME, id));
    let revision = store.commit(fence, vec![put(&b, None, b"old")]).await.unwrap();
    let mut changes = store.watch(VOLUME).await.unwrap();

    let writes = vec![put(&a, None, b"1"), put(&c, None, b"1"), put(&b, None, b"2")];
    assert_conflict(store.commit(fence, writes).await, &b, None, Some(revision));
    assert_eq!(store.list(VOLUME).await.unwrap().len(), 1);

    let writes = vec![put(&a, None, b"1"), delete(&b, Some(revision)), put(&c, None, b"1")];
    let together = store.commit(fence, writes).await.unwrap();
    let found = store.list(VOLUME).await.unwrap();
    assert_eq!(
        found.iter().map(|entry| (&*entry.key.id, entry.revision)).collect::<Vec<_>>(),
        [("a", together), ("c", together)]
    );
    assert_eq!(next(&mut changes).await, put_change(&a, b"1", together));
    assert_eq!(next(&mut changes).await, Change::Deleted(b, together));
    assert_eq!(next(&mut changes).await, put_change(&c, b"1", together));
}

pub async fn a_write_sees_those_before_it_in_the_same_commit(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let key = Key::new(VOLUME, "a");
    let twice = vec![put(&key, None, b"1"), put(&key, None, b"2")];
    assert!(matches!(store.commit(fence, twice).await, Err(StoreError::Conflict { expected: None, .. })));
    assert_eq!(store.find(&key).await.unwrap(), None);

    let old = store.commit(fence, vec![put(&key, None, b"1")]).await.unwrap();
    let anew = vec![delete(&key, Some(old)), put(&key, None, b"2")];
    let new = store.commit(fence, anew).await.unwrap();
    assert_eq!(store.find(&key).await.unwrap().unwrap().revision, new);
}

pub async fn an_empty_commit_changes_nothing(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let revision = store.commit(fence, vec![put(&Key::new(VOLUME, "a"), None, b"1")]).await.unwrap();
    assert_eq!(store.commit(fence, vec![]).await.unwrap(), revision);
    assert!(matches!(store.commit(Fence(fence.0 - 1), vec![]).await, Err(StoreError::Fenced { .. })));
}

pub async fn a_stale_fence_is_refused_before_any_conflict(store: Arc<dyn Store>) {
    let old = writer(&store).await;
    let key = Key::new(VOLUME, "a");
    store.commit(old, vec![put(&key, None, b"1")]).await.unwrap();
    let new = store.acquire("writer").await.unwrap();
    for fence in [old, Fence(new.fence.0 + 1), Fence(0)] {
        match store.commit(fence, vec![put(&key, None, b"2")]).await {
            Err(StoreError::Fenced { presented, current }) => {
                assert_eq!((presented, current), (fence, new.fence));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(&*store.find(&key).await.unwrap().unwrap().value, b"1");
}

pub async fn a_lease_has_one_holder_and_its_number_grows(store: Arc<dyn Store>) {
    let first = store.acquire("a").await.unwrap();
    assert_eq!(first.holder, "a");
    store.renew(&first).await.unwrap();
    // Who does not ask for it learns of it too, where several share the store.
    if let Some(post) = store.post() {
        assert_eq!(post.leader().await.unwrap().as_deref(), Some("a"));
    }
    match store.acquire("b").await {
        Err(StoreError::Held { holder }) => assert_eq!(holder, "a"),
        other => panic!("{other:?}"),
    }
    let again = store.acquire("a").await.unwrap();
    assert!(again.fence > first.fence);
    assert!(matches!(store.renew(&first).await, Err(StoreError::Fenced { .. })));
    store.renew(&again).await.unwrap();

    store.release(&again).await.unwrap();
    if let Some(post) = store.post() {
        assert_eq!(post.leader().await.unwrap(), None);
    }
    assert!(matches!(store.commit(again.fence, vec![]).await, Err(StoreError::Fenced { .. })));
    let other = store.acquire("b").await.unwrap();
    assert!(other.fence > again.fence);
}

pub async fn releasing_twice_is_harmless_and_releasing_for_another_does_nothing(store: Arc<dyn Store>) {
    let old = store.acquire("a").await.unwrap();
    store.release(&old).await.unwrap();
    store.release(&old).await.unwrap();
    let new = store.acquire("b").await.unwrap();
    store.release(&old).await.unwrap();
    store.renew(&new).await.unwrap();
    assert!(matches!(store.acquire("a").await, Err(StoreError::Held { .. })));
}

pub async fn records_are_listed_by_id_and_only_their_kind(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let ids = ["b", "a10", "ä", "", "a", "a2", "Z"];
    let writes = ids.iter().map(|id| put(&Key::new(VOLUME, id), None, b"v"));
    store.commit(fence, writes.collect()).await.unwrap();
    store.commit(fence, vec![put(&Key::new(NODE, "a1"), None, b"n")]).await.unwrap();
    let found = store.list(VOLUME).await.unwrap();
    let found = found.iter().map(|entry| &*entry.key.id).collect::<Vec<_>>();
    assert_eq!(found, ["", "Z", "a", "a10", "a2", "b", "ä"]);
    assert_eq!(store.list("none").await.unwrap(), []);
}

pub async fn values_of_any_bytes_and_ids_of_any_letters_come_back(store: Arc<dyn Store>, limits: Limits) {
    let fence = writer(&store).await;
    let values = [vec![], vec![0; 3], (0..=255).collect(), vec![7; limits.largest]];
    for (id, value) in ["nul\0l", "' OR 1=1 --", "日本", "x"].iter().zip(&values) {
        let key = Key::new(VOLUME, id);
        store.commit(fence, vec![put(&key, None, value)]).await.unwrap();
        assert_eq!(*store.find(&key).await.unwrap().unwrap().value, **value, "{id:?}");
    }
}

pub async fn concurrent_commits_each_get_a_revision_of_their_own(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let tasks = (0..32).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for number in 0..20 {
                let key = Key::new(VOLUME, format!("{task}-{number}"));
                seen.push(store.commit(fence, vec![put(&key, None, b"v")]).await.unwrap());
            }
            assert!(seen.is_sorted());
            seen
        })
    });
    let revisions = futures::future::join_all(tasks).await;
    let revisions = revisions.into_iter().flat_map(|task| task.unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(revisions.len(), 32 * 20);
    assert_eq!(store.list(VOLUME).await.unwrap().len(), 32 * 20);
}

pub async fn concurrent_writers_of_one_record_lose_no_update(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let key = Key::new(VOLUME, "counter");
    store.commit(fence, vec![put(&key, None, b"0")]).await.unwrap();
    let tasks = (0..16).map(|_| {
        let (store, key) = (Arc::clone(&store), key.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while done < 10 {
                let entry = store.find(&key).await.unwrap().unwrap();
                let count: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                let value = (count + 1).to_string();
                match store.commit(fence, vec![put(&key, Some(entry.revision), value.as_bytes())]).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    assert_eq!(&*store.find(&key).await.unwrap().unwrap().value, b"160");
}

pub async fn a_dropped_commit_happens_wholly_or_not_at_all(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    for number in 0..200 {
        let pair = ["left", "right"].map(|side| Key::new(VOLUME, format!("{number}-{side}")));
        let writes = pair.iter().map(|key| put(key, None, b"v")).collect();
        // Polled once: far enough to be under way, then dropped.
        let _ = tokio::task::unconstrained(store.commit(fence, writes)).now_or_never();
    }
    // Commits are taken in order, so this one comes after all of those.
    let last = Key::new(NODE, "last");
    store.commit(fence, vec![put(&last, None, b"v")]).await.unwrap();
    for number in 0..200 {
        let [left, right] = ["left", "right"].map(|side| Key::new(VOLUME, format!("{number}-{side}")));
        let (left, right) = (store.find(&left).await.unwrap(), store.find(&right).await.unwrap());
        assert_eq!(left.map(|entry| entry.revision), right.map(|entry| entry.revision));
    }
}

pub async fn a_watcher_sees_its_kind_in_order(store: Arc<dyn Store>) {
    let fence = writer(&store).await;
    let early = Key::new(VOLUME, "early");
    store.commit(fence, vec![put(&early, None, b"v")]).await.unwrap();
    let mut changes = store.watch(VOLUME).await.unwrap();
    let commits = (0..100).map(|number| {
        let key = Key::new(VOLUME, format!("{number}"));
        let other = Key::new(NODE, format!("{number}"));
        let store = &store;
        async move { store.commit(fence, vec![put(&other, None, b"n"), put(&key, None, b"v")]).await.unwrap() }
    });
    futures::future::join_all(commits).await;
    let mut last = Revision(0);
    for _ in 0..100 {
        match next(&mut changes).await {
            Change::Put(entry) => {
                assert_eq!(entry.key.kind, VOLUME);
                assert!(entry.revision > last);
                last = entry.revision;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(changes.next().now_or_never().is_none());
}

pub async fn a_slow_watcher_is_told_and_goes_on(store: Arc<dyn Store>, limits: Limits) {
    const PARTS: usize = 4;
    let fence = writer(&store).await;
    let mut changes = store.watch(VOLUME).await.unwrap();
    let size = limits.behind / PARTS;
    for round in 0..2 {
        for part in 0..=PARTS {
            let keys = (0..size).map(|number| Key::new(VOLUME, format!("{round}-{part}-{number}")));
            store.commit(fence, keys.map(|key| put(&key, None, b"v")).collect()).await.unwrap();
        }
        assert_eq!(next(&mut changes).await, Change::Lagged);
        let key = Key::new(VOLUME, format!("after-{round}"));
        let revision = store.commit(fence, vec![put(&key, None, b"v")]).await.unwrap();
        assert_eq!(next(&mut changes).await, put_change(&key, b"v", revision));
    }
}

async fn writer(store: &Arc<dyn Store>) -> Fence {
    store.acquire("writer").await.unwrap().fence
}

async fn next(changes: &mut (impl StreamExt<Item = Change> + Unpin)) -> Change {
    let change = tokio::time::timeout(Duration::from_secs(10), changes.next()).await;
    change.expect("a change within ten seconds").expect("the watch goes on")
}

fn put_change(key: &Key, value: &[u8], revision: Revision) -> Change {
    Change::Put(Entry { key: key.clone(), value: value.into(), revision })
}

fn assert_conflict(
    result: Result<Revision, StoreError>,
    key: &Key,
    expected: Option<Revision>,
    found: Option<Revision>,
) {
    match result {
        Err(StoreError::Conflict { key: k, expected: e, found: f }) => {
            assert_eq!((&k, e, f), (key, expected, found));
        }
        other => panic!("{other:?}"),
    }
}
