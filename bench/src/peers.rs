//! Programs that speak Docker's volume plugin protocol, one after the other on a simulated ONTAP array of their own that
//! is the same for each: ours, and any other.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use sim_ontap::Sim;
use tokio::task::JoinSet;

use crate::http::Connection;
use crate::ontap::Plan;
use crate::spread::{Spread, ms};

/// How a program is started, and where it listens.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// Words, in which `{config}`, `{folder}` and `{socket}` are replaced.
    pub(crate) command: String,
    /// The plugin's socket; `{folder}` is replaced.
    pub(crate) socket: String,
}

/// Ends with the measurement, however that ends.
struct Running(Child);

const READY: Duration = Duration::from_secs(60);
const DRIVER: &str = "ontap-nas";

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    pub(crate) fn ours(leister: &Path) -> Program {
        let command = format!(
            "{} run --listen none --config {{config}} --state-dir {{folder}}/state --plugin-dir {{folder}} --socket \
             {{folder}}/rest.sock",
            leister.display()
        );
        Program { name: "leister".to_owned(), command, socket: "{folder}/leister.sock".to_owned() }
    }

    fn start(&self, folder: &Path, config: &Path) -> Result<(Running, PathBuf)> {
        let in_folder = |text: &str| text.replace("{folder}", &folder.display().to_string());
        let socket = in_folder(&self.socket);
        let command = in_folder(&self.command)
            .replace("{config}", &config.display().to_string())
            .replace("{socket}", &socket);
        let mut words = command.split_whitespace();
        let program = words.next().context("the command is empty")?;
        let log = std::fs::File::create(folder.join("log"))?;
        let child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("`{program}` cannot be started"))?;
        Ok((Running(child), socket.into()))
    }
}

pub(crate) fn measure(programs: &[Program], plan: Plan) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(all(programs, plan))
}

async fn all(programs: &[Program], plan: Plan) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "program",
        "operation",
        "done",
        "failed",
        "a second",
        "p50",
        "p99",
        "calls each",
        "a look meanwhile, p99",
    ]);
    for program in programs {
        let folder = tempfile::tempdir()?;
        let measured = one(program, folder.path(), plan).await.with_context(|| {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(5).collect();
            format!(
                "`{}` was not measured; the end of its log, last line first:\n{}",
                program.name,
                end.join("\n")
            )
        });
        for row in measured? {
            table.add_row([vec![program.name.clone()], row].concat());
        }
    }
    println!("{table}");
    Ok(())
}

async fn one(program: &Program, folder: &Path, plan: Plan) -> Result<Vec<Vec<String>>> {
    let sim = Sim::builder()
        .svm("svm1")
        .user("admin", "netapp123")
        .aggregate("aggr1", 1 << 50, "ssd")
        .start()
        .await?;
    let config = folder.join("backend.json");
    let backend = json!({
        "version": 1, "storageDriverName": DRIVER, "backendName": "bench", "managementLIF": sim.address(),
        "svm": "svm1", "username": "admin", "password": "netapp123", "storagePrefix": "bench_",
    });
    std::fs::write(&config, backend.to_string())?;
    let (mut running, socket) = program.start(folder, &config)?;
    ready(&mut running, &socket).await?;
    call(&socket, "Create", &json!({"Name": "source", "Opts": {"size": "1GiB"}})).await?;
    plan.slow_down(&sim);
    let mut rows = Vec::new();
    for (what, verb, options) in [
        ("create", "Create", json!({"size": "1GiB"})),
        ("clone", "Create", json!({"from": "source"})),
        ("remove", "Remove", Value::Null),
    ] {
        // What is removed is what was created.
        let prefix = if what == "clone" { "c" } else { "v" };
        rows.push(many(&sim, &socket, (what, verb, prefix), &options, plan).await?);
    }
    Ok(rows)
}

async fn ready(running: &mut Running, socket: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        if let Some(status) = running.0.try_wait()? {
            bail!("it ended: {status}");
        }
        let said = call(socket, "Create", &json!({"Name": "first", "Opts": {"size": "1GiB"}})).await;
        match said {
            Ok(()) => return Ok(()),
            Err(error) => ensure!(started.elapsed() < READY, "it makes no volume: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
async fn many(
    sim: &Sim,
    socket: &Path,
    (what, verb, prefix): (&str, &'static str, &str),
    options: &Value,
    plan: Plan,
) -> Result<Vec<String>> {
    let (next, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let looks = tokio::spawn(look(socket.to_owned(), over.clone()));
    let before = sim.calls().total();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..plan.parallel {
        let (next, socket, prefix, options) =
            (next.clone(), socket.to_owned(), prefix.to_owned(), options.clone());
        tasks.spawn(async move {
            let (mut spread, mut failed) = (Spread::default(), 0);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= plan.operations {
                    return (spread, failed);
                }
                let started = Instant::now();
                let body = json!({"Name": format!("{prefix}{n}"), "Opts": options});
                match call(&socket, verb, &body).await {
                    Ok(()) => spread.add(started.elapsed()),
                    Err(_) => failed += 1,
                }
            }
        });
    }
    let (mut spread, mut failed) = (Spread::default(), 0);
    while let Some(done) = tasks.join_next().await {
        let (part, not) = done?;
        spread.extend(part);
        failed += not;
    }
    let took = started.elapsed().as_secs_f64();
    let calls = sim.calls().total() - before;
    over.store(true, Ordering::Relaxed);
    let looks = looks.await?;
    Ok(vec![
        what.to_owned(),
        spread.len().to_string(),
        failed.to_string(),
        format!("{:.0}", spread.len() as f64 / took),
        ms(spread.quantile(0.5)),
        ms(spread.quantile(0.99)),
        format!("{:.1}", calls as f64 / plan.operations as f64),
        ms(looks.quantile(0.99)),
    ])
}

/// `docker volume inspect`, ten times a second.
async fn look(socket: PathBuf, over: Arc<AtomicBool>) -> Spread {
    let mut spread = Spread::default();
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        if call(&socket, "Get", &json!({"Name": "source"})).await.is_ok() {
            spread.add(started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    spread
}

/// # Errors
/// No answer, or one that says what went wrong.
async fn call(socket: &Path, verb: &str, body: &Value) -> Result<()> {
    let mut connection = Connection::open(socket).await?;
    let answer = connection.send("POST", &format!("/VolumeDriver.{verb}"), Some(body.to_string())).await?;
    let answer: Value = serde_json::from_slice(&answer).context("no JSON")?;
    match answer["Err"].as_str() {
        None | Some("") => Ok(()),
        Some(problem) => bail!("{problem}"),
    }
}
