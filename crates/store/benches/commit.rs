//! Durable single-record commits per second, by committers and by records already there; listing and opening.
//!
//! Each committer creates and deletes records of its own, so that the number of records stays what it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use store::{Fence, Key, Kind, Revision, SqliteStore, Store, Write};
use tokio::runtime::Runtime;

const KIND: Kind = "volume";
const VALUE: [u8; 512] = [7; 512];

fn commit(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    for records in record_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        let store = Arc::new(SqliteStore::open(&path).expect("a store"));
        let fence = runtime.block_on(store.acquire("bench")).expect("the lease").fence;
        runtime.block_on(fill(&store, fence, records));
        let mut group = criterion.benchmark_group(format!("commit/{records} records"));
        group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(5)).sample_size(20);
        for committers in [1, 16, 64] {
            group.bench_function(BenchmarkId::new("committers", committers), |bencher| {
                bencher.iter_custom(|commits| runtime.block_on(run(&store, fence, committers, commits)));
            });
        }
        group.bench_function("list", |bencher| {
            bencher.iter(|| runtime.block_on(store.list(KIND)).expect("records").len());
        });
        drop(store);
        group.bench_function("open", |bencher| bencher.iter(|| SqliteStore::open(&path).expect("a store")));
        group.finish();
    }
}

/// `RECORDS=1000000` measures with that many only.
fn record_counts() -> Vec<u64> {
    let wanted = std::env::var("RECORDS").ok().map(|text| text.parse().expect("RECORDS is a number"));
    wanted.map_or_else(|| vec![0, 10_000, 100_000], |count| vec![count])
}

async fn fill(store: &SqliteStore, fence: Fence, records: u64) {
    let keys = (0..records).map(|number| key(number, u64::MAX)).collect::<Vec<_>>();
    for part in keys.chunks(10_000) {
        let writes = part.iter().map(|key| write(key, None, true)).collect();
        store.commit(fence, writes).await.expect("a commit");
    }
}

async fn run(store: &Arc<SqliteStore>, fence: Fence, committers: u64, commits: u64) -> Duration {
    let start = Instant::now();
    let tasks = (0..committers).map(|committer| {
        let store = Arc::clone(store);
        // What does not divide evenly is done by the first.
        let share = commits / committers + if committer == 0 { commits % committers } else { 0 };
        tokio::spawn(async move {
            let mut seen: Option<Revision> = None;
            let mut number = 0;
            for _ in 0..share {
                let key = key(number, committer);
                let revision = store.commit(fence, vec![write(&key, seen, seen.is_none())]).await;
                let revision = revision.expect("a commit");
                (seen, number) = if seen.is_none() { (Some(revision), number) } else { (None, number + 1) };
            }
            if let Some(revision) = seen {
                let last = vec![write(&key(number, committer), Some(revision), false)];
                store.commit(fence, last).await.expect("a commit");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a committer");
    }
    start.elapsed()
}

/// Spread over the whole range, as random ids are.
fn key(number: u64, committer: u64) -> Key {
    let spread = (number ^ committer.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Key::new(KIND, format!("{spread:016x}-{number:x}-{committer:x}"))
}

fn write(key: &Key, expected: Option<Revision>, is_put: bool) -> Write {
    Write { key: key.clone(), expected, value: is_put.then(|| VALUE.as_slice().into()) }
}

criterion_group!(benches, commit);
criterion_main!(benches);
