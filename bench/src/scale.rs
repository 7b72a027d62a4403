//! Does the cost of one depend on how many others there are?

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use comfy_table::{Table, presets};
use driver::config::BackendFile;
use driver::memory::{MemoryArray, MemoryDriver};
use driver::{Driver, DriverError};
use model::{Bytes, InstanceId, NodeIdentity, NodeName, VolumeId};
use orchestrator::{BackendOrigin, CreateRequest, Families, Orchestrator, Request, Settings};
use store::SqliteStore;

use crate::spread::{Spread, median, ms};

/// Backends that are all one array in memory.
pub(crate) struct Family(pub(crate) Arc<MemoryArray>);

/// One orchestrator with its store and array, and what was measured with it.
struct House {
    present: usize,
    orchestrator: Orchestrator,
    started_in: Duration,
    rates: Vec<f64>,
    creates: Spread,
    reads: Spread,
}

pub(crate) fn measure(present: &[usize], creates: usize, parallel: usize, rounds: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir().context("cannot make a folder for the stores")?;
    runtime.block_on(async {
        let mut houses = Vec::new();
        for &present in present {
            let array = MemoryArray::new(Bytes::gib(1 << 30));
            let path = folder.path().join(format!("{present}.db"));
            let filling = open(&path, &array).await?;
            create_many(&filling, "old", present, parallel).await?;
            filling.stop().await;
            drop(filling);
            // Opened anew, as after a restart: the time to read all records is a figure too.
            let started = Instant::now();
            let orchestrator = open(&path, &array).await?;
            let started_in = started.elapsed();
            houses.push(House {
                present,
                orchestrator,
                started_in,
                rates: Vec::new(),
                creates: Spread::default(),
                reads: Spread::default(),
            });
        }
        // In turns, so that a machine that drifts drifts for all.
        for round in 0..rounds {
            for house in &mut houses {
                house.round(round, creates, parallel).await?;
            }
        }
        show(&houses, parallel);
        Ok(())
    })
}

impl House {
    async fn round(&mut self, round: usize, creates: usize, parallel: usize) -> Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn(read_until(self.orchestrator.clone(), stop.clone()));
        let started = Instant::now();
        let spread = create_many(&self.orchestrator, &format!("new{round}"), creates, parallel).await?;
        #[allow(clippy::cast_precision_loss, reason = "a count of creates")]
        self.rates.push(spread.len() as f64 / started.elapsed().as_secs_f64());
        stop.store(true, Ordering::Relaxed);
        self.creates.extend(spread);
        self.reads.extend(reader.await?);
        delete_many(&self.orchestrator, &format!("new{round}"), creates, parallel).await
    }
}

#[async_trait]
impl Families for Family {
    async fn open(&self, file: &BackendFile) -> Result<Arc<dyn Driver>, DriverError> {
        let instance = InstanceId::new("bench")
            .map_err(|e| DriverError::new(driver::ErrorKind::Invalid, "open backend", e.to_string()))?;
        Ok(MemoryDriver::open(file.name().clone(), instance, self.0.clone()))
    }
}

async fn open(path: &Path, array: &Arc<MemoryArray>) -> Result<Orchestrator> {
    let place = path.to_owned();
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&place)).await??;
    let settings = Settings::new(InstanceId::new("bench")?, NodeIdentity::named(NodeName::new("bench")?));
    let families = Arc::new(Family(array.clone()));
    let orchestrator = Orchestrator::start(settings, Arc::new(store), families).await?;
    let file = BackendFile::parse("version: 1\nstorageDriverName: memory\nbackendName: array\n", "bench")?;
    orchestrator.create_backend(file, BackendOrigin::File("bench".into())).await?;
    Ok(orchestrator)
}

pub(crate) async fn create_many(
    o: &Orchestrator,
    prefix: &str,
    count: usize,
    parallel: usize,
) -> Result<Spread> {
    in_parallel(o, prefix, count, parallel, |volume| {
        let request = CreateRequest { size: Some(Bytes::gib(1)), ..CreateRequest::named(volume) };
        Request::Create(Box::new(request))
    })
    .await
}

async fn delete_many(o: &Orchestrator, prefix: &str, count: usize, parallel: usize) -> Result<()> {
    in_parallel(o, prefix, count, parallel, |volume| Request::Delete { volume, with_snapshots: false })
        .await?;
    Ok(())
}

async fn in_parallel(
    o: &Orchestrator,
    prefix: &str,
    count: usize,
    parallel: usize,
    request: impl Fn(VolumeId) -> Request + Clone + Send + 'static,
) -> Result<Spread> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..parallel {
        let (o, next, request, prefix) = (o.clone(), next.clone(), request.clone(), prefix.to_owned());
        workers.spawn(async move {
            let mut spread = Spread::default();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return anyhow::Ok(spread);
                }
                let volume = VolumeId::new(format!("{prefix}-{n:06}"))?;
                let started = Instant::now();
                o.run(request(volume)).await?;
                spread.add(started.elapsed());
            }
        });
    }
    let mut all = Spread::default();
    while let Some(worker) = workers.join_next().await {
        all.extend(worker??);
    }
    Ok(all)
}

/// What a dashboard or a scheduler does all the time: one volume, and a page of a hundred.
async fn read_until(o: Orchestrator, stop: Arc<AtomicBool>) -> Spread {
    let mut spread = Spread::default();
    let mut after: Option<VolumeId> = None;
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let catalogue = o.catalogue();
        let page: Vec<_> = catalogue.volumes_after(after.as_ref()).take(100).cloned().collect();
        let one = page.last().and_then(|record| catalogue.volume(&record.id));
        after = one.map(|record| record.id.clone());
        spread.add(started.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    spread
}

fn show(houses: &[House], parallel: usize) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "volumes present",
        &format!("creates/s at {parallel}"),
        "against the first",
        "create p50",
        "create p99",
        "read p99 meanwhile",
        "start",
    ]);
    let first = houses.first().map(|house| median(house.rates.clone())).unwrap_or_default();
    for house in houses {
        let rate = median(house.rates.clone());
        table.add_row([
            house.present.to_string(),
            format!("{rate:.0}"),
            format!("{:.2}", rate / first),
            ms(house.creates.quantile(0.5)),
            ms(house.creates.quantile(0.99)),
            ms(house.reads.quantile(0.99)),
            ms(house.started_in),
        ]);
    }
    println!("{table}");
}
