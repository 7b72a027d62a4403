//! The whole product on a real pool, beside Docker's own `local` driver and a bare `btrfs subvolume create`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};
use docker_suite::{Engine, Leister, LeisterSpec};

use crate::http::Connection;
use crate::spread::{Spread, median, ms};

const PARALLEL: [usize; 3] = [1, 16, 64];

/// A way to make a volume.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The limit: what btrfs itself takes, as a process, without a promise that it survives a power cut.
    Bare,
    Local,
    Docker,
    Rest,
}

const WAYS: [Way; 4] = [Way::Bare, Way::Local, Way::Docker, Way::Rest];

struct System {
    engine: Engine,
    leister: Leister,
}

pub(crate) fn measure(creates: usize, rounds: usize, volumes: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = Engine::start()?;
    let spec =
        LeisterSpec { pool_size: "40GiB".into(), ..LeisterSpec::new(folder.path(), &engine.plugins()) };
    let mut system = System { engine, leister: spec.start()? };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(creates_per_second(&system, creates, rounds))?;
    runtime.block_on(reads_under_load(&system))?;
    start_and_memory(&mut system, &runtime, volumes)?;
    system.leister.stop()
}

async fn creates_per_second(system: &System, creates: usize, rounds: usize) -> Result<()> {
    let mut table = table([
        "at once",
        "way",
        "creates/s",
        "p50",
        "p99",
        "time against docker local",
        "time against bare btrfs",
    ]);
    for parallel in PARALLEL {
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); WAYS.len()];
        let mut spreads: Vec<Spread> = WAYS.iter().map(|_| Spread::default()).collect();
        // In turns, so that a machine that drifts drifts for all.
        for round in 0..rounds {
            for (n, way) in WAYS.iter().enumerate() {
                let prefix = format!("b{parallel}-{round}-{}", way.name().replace(' ', "-"));
                let started = Instant::now();
                let spread = in_parallel(system, *way, &prefix, creates, parallel, false).await?;
                #[allow(clippy::cast_precision_loss, reason = "a count of creates")]
                rates[n].push(spread.len() as f64 / started.elapsed().as_secs_f64());
                spreads[n].extend(spread);
                in_parallel(system, *way, &prefix, creates, parallel, true).await?;
            }
        }
        let p50 = |way: Way| spreads[way as usize].quantile(0.5);
        for (n, way) in WAYS.iter().enumerate() {
            let against = |base: Way| format!("{:.2}", p50(*way).as_secs_f64() / p50(base).as_secs_f64());
            table.add_row([
                parallel.to_string(),
                way.name().to_owned(),
                format!("{:.0}", median(rates[n].clone())),
                ms(p50(*way)),
                ms(spreads[n].quantile(0.99)),
                against(Way::Local),
                against(Way::Bare),
            ]);
        }
    }
    say("Creates", &table);
    Ok(())
}

async fn reads_under_load(system: &System) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_until(system.socket(Way::Rest), stop.clone()));
    in_parallel(system, Way::Rest, "load", 500, 64, false).await?;
    stop.store(true, Ordering::Relaxed);
    let reads = reader.await??;
    let mut table = table(["reads while 500 creates run", "p50", "p99", "slowest"]);
    table.add_row([
        reads.len().to_string(),
        ms(reads.quantile(0.5)),
        ms(reads.quantile(0.99)),
        ms(reads.quantile(1.0)),
    ]);
    say("Reads", &table);
    in_parallel(system, Way::Rest, "load", 500, 64, true).await?;
    Ok(())
}

fn start_and_memory(system: &mut System, runtime: &tokio::runtime::Runtime, volumes: usize) -> Result<()> {
    runtime.block_on(in_parallel(system, Way::Rest, "many", volumes, 64, false))?;
    let mut table = table(["volumes", "killed, then ready again in", "RSS"]);
    for _ in 0..3 {
        system.leister.kill()?;
        let started = Instant::now();
        system.leister.restart()?;
        let ready = started.elapsed();
        table.add_row([volumes.to_string(), ms(ready), system.memory()?]);
    }
    say("Start", &table);
    Ok(())
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Way::Bare => "btrfs subvolume create",
            Way::Local => "docker local",
            Way::Docker => "docker leister",
            Way::Rest => "leister REST",
        }
    }
}

impl System {
    fn socket(&self, way: Way) -> PathBuf {
        match way {
            Way::Bare | Way::Local | Way::Docker => self.engine.folder().join("sock"),
            Way::Rest => self.leister.spec().folder.join("api.sock"),
        }
    }

    /// A folder on the pool's own file system, beside its volumes.
    fn bare(&self) -> PathBuf {
        self.leister.spec().pool.clone()
    }

    fn memory(&self) -> Result<String> {
        let pid = self.leister.pid().context("it is not running")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(format!("{} MiB", kib / 1024))
    }
}

/// Makes, or removes, `count` volumes with so many hands at once.
async fn in_parallel(
    system: &System,
    way: Way,
    prefix: &str,
    count: usize,
    parallel: usize,
    remove: bool,
) -> Result<Spread> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..parallel.min(count) {
        let (next, prefix) = (next.clone(), prefix.to_owned());
        let (socket, bare, driver) = (system.socket(way), system.bare(), system.leister.name().to_owned());
        workers.spawn(async move {
            let mut connection = match way {
                Way::Bare => None,
                _ => Some(Connection::open(&socket).await?),
            };
            let mut spread = Spread::default();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return anyhow::Ok(spread);
                }
                let name = format!("{prefix}-{n}");
                let started = Instant::now();
                match (&mut connection, remove) {
                    (None, remove) => subvolume(&bare.join(&name), remove).await?,
                    (Some(connection), false) => create(connection, way, &name, &driver).await?,
                    (Some(connection), true) => {
                        let path = match way {
                            Way::Rest => format!("/v1/volumes/{name}"),
                            _ => format!("/volumes/{name}"),
                        };
                        connection.send("DELETE", &path, None).await?;
                    }
                }
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

async fn create(connection: &mut Connection, way: Way, name: &str, driver: &str) -> Result<()> {
    let (path, body) = match way {
        Way::Rest => ("/v1/volumes", format!(r#"{{"name":"{name}","size":"10MiB"}}"#)),
        Way::Docker => (
            "/volumes/create",
            format!(r#"{{"Name":"{name}","Driver":"{driver}","DriverOpts":{{"size":"10MiB"}}}}"#),
        ),
        Way::Local | Way::Bare => ("/volumes/create", format!(r#"{{"Name":"{name}","Driver":"local"}}"#)),
    };
    connection.send("POST", path, Some(body)).await.map(drop)
}

async fn subvolume(path: &Path, remove: bool) -> Result<()> {
    let verb = if remove { "delete" } else { "create" };
    let made = tokio::process::Command::new("btrfs").args(["subvolume", verb]).arg(path).output().await?;
    ensure!(made.status.success(), "btrfs: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// One volume and a page of a hundred, over and over.
async fn read_until(socket: PathBuf, stop: Arc<AtomicBool>) -> Result<Spread> {
    let mut connection = Connection::open(&socket).await?;
    let mut spread = Spread::default();
    while !stop.load(Ordering::Relaxed) {
        for path in ["/v1/volumes?limit=100", "/v1/backends"] {
            let started = Instant::now();
            connection.send("GET", path, None).await?;
            spread.add(started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(spread)
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    table
}

fn say(title: &str, table: &Table) {
    println!("\n{title}\n{table}");
}
