//! How close creates and clones on ONTAP come to what the array's time for a call and its number of calls at once
//! allow: calls at once / (calls an operation × time of a call).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use comfy_table::{Table, presets};
use driver::config::BackendFile;
use driver::{CloneVolume, CreateVolume, Driver, Snapshots};
use model::{
    AccessMode, Bytes, InstanceId, Labels, Layout, Provisioning, VolumeId, VolumeOptions, VolumeSpec,
};
use sim_ontap::{Latency, Overload, Sim};
use tokio::task::JoinSet;

use crate::spread::{Spread, ms};

/// What is measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Plan {
    /// Operations of each kind.
    #[arg(long, default_value_t = 1000)]
    pub(crate) operations: usize,
    /// Operations at once.
    #[arg(long, default_value_t = 64)]
    pub(crate) parallel: usize,
    /// Time of each call.
    #[arg(long, default_value_t = 50)]
    pub(crate) milliseconds: u64,
    /// Calls that the array works on at once.
    #[arg(long, default_value_t = 20)]
    pub(crate) in_flight: usize,
}

impl Plan {
    /// Lets the array take its time from now on.
    pub(crate) fn slow_down(&self, sim: &Sim) {
        sim.faults().set_latency("*", Latency { milliseconds: self.milliseconds, jitter: 0 });
        sim.faults().limit_in_flight(self.in_flight, Overload::Wait);
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Create,
    Clone,
}

pub(crate) fn measure(plan: Plan) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(all(plan))
}

async fn all(plan: Plan) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "driver",
        "operation",
        "calls",
        "a second",
        "limit",
        "of the limit",
        "a look meanwhile, p99",
    ]);
    for (kind, rest) in [("ontap-nas", ""), ("ontap-san", "sanType: iscsi")] {
        let sim = Sim::builder()
            .svm("svm1")
            .user("admin", "netapp123")
            .aggregate("aggr1", 1 << 50, "ssd")
            .start()
            .await?;
        let driver = open(&sim, kind, rest).await?;
        driver.pools().await?;
        let source = request(driver.as_ref(), "source")?;
        driver.create(&source).await?;
        plan.slow_down(&sim);
        for what in [What::Create, What::Clone] {
            let row = one(&sim, &driver, &source, what, plan).await?;
            table.add_row([vec![kind.to_owned()], row].concat());
        }
    }
    println!("{table}");
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
async fn one(
    sim: &Sim,
    driver: &Arc<dyn Driver>,
    source: &CreateVolume,
    what: What,
    plan: Plan,
) -> anyhow::Result<Vec<String>> {
    let calls = sim.calls().total();
    let next = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let reads = tokio::spawn(look(driver.clone(), source.clone(), over.clone()));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..plan.parallel {
        let (driver, source, next) = (driver.clone(), source.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= plan.operations {
                    return anyhow::Ok(());
                }
                let create = request(driver.as_ref(), &format!("{what:?}{n}"))?;
                match what {
                    What::Create => drop(driver.create(&create).await?),
                    What::Clone => {
                        let clones = driver.snapshots().and_then(Snapshots::clones).context("no clones")?;
                        let clone = CloneVolume { create, source: source.handle.clone(), snapshot: None };
                        clones.clone_volume(&clone).await?;
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let took = started.elapsed();
    over.store(true, Ordering::Relaxed);
    let (looks, calls_of_looks) = reads.await??;
    let each = (sim.calls().total() - calls - calls_of_looks) as f64 / plan.operations as f64;
    let rate = plan.operations as f64 / took.as_secs_f64();
    // The looks take their part of the array's places.
    let taken = calls_of_looks as f64 / took.as_secs_f64();
    let places = plan.in_flight as f64 * 1000.0 / plan.milliseconds as f64 - taken;
    let limit = places / each;
    Ok(vec![
        format!("{what:?}").to_lowercase(),
        format!("{each:.1}"),
        format!("{rate:.0}"),
        format!("{limit:.0}"),
        format!("{:.2}", rate / limit),
        ms(looks.quantile(0.99)),
    ])
}

/// Looks at a volume ten times a second until it is over; says how long that took, and its calls.
async fn look(
    driver: Arc<dyn Driver>,
    volume: CreateVolume,
    over: Arc<AtomicBool>,
) -> anyhow::Result<(Spread, usize)> {
    let mut spread = Spread::default();
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        driver.observe(&volume.handle).await?;
        spread.add(started.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let calls = spread.len() * if driver.staging().is_some() { 2 } else { 1 };
    Ok((spread, calls))
}

async fn open(sim: &Sim, kind: &str, rest: &str) -> anyhow::Result<Arc<dyn Driver>> {
    let text = format!(
        "version: 1\nstorageDriverName: {kind}\nbackendName: bench\nmanagementLIF: {}\nsvm: svm1\nusername: admin\n\
         password: netapp123\n{rest}\n",
        sim.address()
    );
    let file = BackendFile::parse(&text, "bench.yaml").map_err(|e| anyhow!("{e}"))?;
    Ok(ontap::open(&file, InstanceId::new("bench")?).await?)
}

fn request(driver: &dyn Driver, name: &str) -> anyhow::Result<CreateVolume> {
    let volume = VolumeId::new(name)?;
    Ok(CreateVolume {
        handle: driver.handle(&volume)?,
        volume,
        pool: model::PoolName::new("aggr1")?,
        spec: VolumeSpec {
            size: Bytes::gib(1),
            layout: if driver.staging().is_some() { Layout::Block } else { Layout::File },
            filesystem: None,
            provisioning: Provisioning::Thin,
            access: AccessMode::default(),
            class: None,
            source: None,
            options: VolumeOptions::new(),
            mount_options: Vec::new(),
            labels: Labels::new(),
        },
    })
}
