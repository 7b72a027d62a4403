//! The whole product at work, step by step, on a pool and an engine that are gone afterwards.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a demo speaks to a person")]

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use comfy_table::{Table, presets};
use docker_suite::{Engine, Stage, lacking, until};

const LIMIT: Duration = Duration::from_secs(30);

/// Counts for ever, each number on disk before the next.
const COUNT: &str = "i=0; while true; do i=$((i+1)); echo $i >>/data/numbers; sync -d /data/numbers; done";

/// What a step needs, and what it tells.
type Step = (&'static str, fn(&mut Stage) -> Result<String>);

const STEPS: &[Step] = &[
    ("classes gold (thick), silver and bronze (thin)", make_classes),
    ("docker volume create -d leister -o size=256MiB -o class=gold", create),
    ("one container writes, another reads", write_and_read),
    ("writing past the size fails in the container", overfill),
    ("snapshot", take_snapshot),
    ("clone of the snapshot, by docker volume create -o from", clone),
    ("grow to 512 MiB while mounted", grow),
    ("restore in place", restore),
    ("kill -9 of leister while a container writes", kill_and_restart),
    ("remove everything", remove),
    ("leister doctor finds nothing", doctor),
];

fn main() -> ExitCode {
    if let Some(reason) = lacking() {
        eprintln!("the demo cannot run here: {reason}");
        return ExitCode::FAILURE;
    }
    let mut told = Told::new();
    match show(&mut told) {
        Ok(()) => {
            println!("\n{}", told.table);
            println!(
                "all steps done in {:.1} s; nothing is left behind",
                told.started.elapsed().as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\n{}\n{error:#}", told.table);
            ExitCode::FAILURE
        }
    }
}

fn show(told: &mut Told) -> Result<()> {
    let engine = told.step("a Docker Engine of our own", || {
        let engine = Engine::start()?;
        let version = engine.docker(&["version", "--format", "{{.Server.Version}}"])?.ok()?;
        Ok((Arc::new(engine), format!("Docker {version}, private socket and data")))
    })?;
    let mut stage = told.step("an embedded pool, and leister on it", || {
        let stage = Stage::on(engine, |spec| {
            spec.name = "leister".into();
            spec.pool_size = "20GiB".into();
        })?;
        Ok((stage, "20 GiB of btrfs in a sparse file, on a loop device".into()))
    })?;
    for (title, step) in STEPS {
        told.step(title, || Ok(((), step(&mut stage)?)))?;
    }
    told.step("stop everything", || {
        stage.leister.stop()?;
        stage.finish(&[])?;
        Ok(((), "no complaint in the log".into()))
    })
}

fn make_classes(stage: &mut Stage) -> Result<String> {
    for (name, provisioning) in [("gold", "thick"), ("silver", "thin"), ("bronze", "thin")] {
        let class = format!("name: {name}\nparameters:\n  provisioningType: {provisioning}\n");
        stage.leister.create_from("class", &class)?;
    }
    Ok(format!("{} classes", stage.leister.list("classes")?.len()))
}

fn create(stage: &mut Stage) -> Result<String> {
    stage.create("data", &["size=256MiB", "class=gold"])?.ok()?;
    stage.create("other", &["size=1", "class=silver"])?.ok()?;
    let view = stage.view("data")?;
    ensure!(view["size"] == 256 << 20 && view["provisioning"] == "thick", "{view}");
    Ok(format!("{} on {}, thick; `other`, 1 GiB, thin", view["name"], view["backend"]))
}

fn write_and_read(stage: &mut Stage) -> Result<String> {
    stage.shell("data", "echo 'what a container wrote' >/data/file")?.ok()?;
    let read = stage.shell("data", "cat /data/file")?.ok()?;
    ensure!(read == "what a container wrote", "{read}");
    Ok(format!("read: {read}"))
}

fn overfill(stage: &mut Stage) -> Result<String> {
    let refused =
        stage.shell("data", "dd if=/dev/zero of=/data/big bs=1M count=300 conv=fsync")?.refused()?;
    let errno =
        ["Disk quota exceeded", "No space left on device"].into_iter().find(|text| refused.contains(text));
    let errno = errno.with_context(|| format!("another error was expected: {refused}"))?;
    stage.shell("data", "rm /data/big && cat /data/file")?.ok()?;
    stage.shell("other", "dd if=/dev/zero of=/data/big bs=1M count=300 conv=fsync && rm /data/big")?.ok()?;
    Ok(format!("{errno}; another volume still takes 300 MiB"))
}

fn take_snapshot(stage: &mut Stage) -> Result<String> {
    stage.leister.cli(&["snapshot", "data", "before"])?.ok()?;
    stage.shell("data", "echo 'changed later' >/data/file")?.ok()?;
    let snapshots = &stage.status("data")?["Snapshots"];
    ensure!(snapshots[0]["Name"] == "before", "{snapshots}");
    Ok(format!("{} at {}", snapshots[0]["Name"], snapshots[0]["Created"]))
}

fn clone(stage: &mut Stage) -> Result<String> {
    stage.create("copy", &["from=data", "fromSnapshot=before"])?.ok()?;
    let read = stage.shell("copy", "cat /data/file; echo more >>/data/file")?.ok()?;
    ensure!(read == "what a container wrote", "{read}");
    let original = stage.shell("data", "cat /data/file")?.ok()?;
    ensure!(original == "changed later", "{original}");
    Ok(format!("the clone has: {read}; the volume has: {original}"))
}

fn grow(stage: &mut Stage) -> Result<String> {
    stage.background("grown", "data", "sleep 1000")?;
    stage.leister.cli(&["grow", "data", "512MiB"])?.ok()?;
    let fill = "dd if=/dev/zero of=/data/big bs=1M count=400 conv=fsync && rm /data/big";
    stage.engine.docker(&["exec", "grown", "sh", "-c", fill])?.ok()?;
    stage.engine.docker(&["rm", "--force", "grown"])?.ok()?;
    Ok("the running container wrote 400 MiB".into())
}

fn restore(stage: &mut Stage) -> Result<String> {
    stage.leister.cli(&["restore", "data", "before", "--yes"])?.ok()?;
    let read = stage.shell("data", "cat /data/file")?.ok()?;
    ensure!(read == "what a container wrote", "{read}");
    ensure!(stage.view("data")?["size"] == 512 << 20, "the size went back");
    Ok(format!("the volume has: {read}; its size is still 512 MiB"))
}

fn kill_and_restart(stage: &mut Stage) -> Result<String> {
    stage.background("writer", "data", COUNT)?;
    let last = |stage: &Stage| -> Result<u64> {
        let text = stage.engine.docker(&["exec", "writer", "tail", "-n", "1", "/data/numbers"])?.ok()?;
        Ok(text.parse()?)
    };
    let counts = |stage: &Stage, past: u64| {
        until("the container to count on", LIMIT, || last(stage).ok().filter(|now| *now > past))
    };
    let before = counts(stage, 10)?;
    stage.leister.kill()?;
    let during = counts(stage, before)?;
    stage.leister.restart()?;
    counts(stage, during)?;
    ensure!(stage.mount_count("data")? == 1, "one container has it mounted: {}", stage.status("data")?);
    stage.shell("data", "test -s /data/numbers")?.ok()?;
    ensure!(stage.mount_count("data")? == 1, "one container still has it mounted: {}", stage.status("data")?);
    stage.engine.docker(&["rm", "--force", "writer"])?.ok()?;
    ensure!(stage.mount_count("data")? == 0, "no container has it mounted: {}", stage.status("data")?);
    let numbers = stage.shell("data", "cat /data/numbers")?.ok()?;
    let numbers: Vec<u64> = numbers.lines().map(str::parse).collect::<Result<_, _>>()?;
    let lost = numbers.iter().zip(1_u64..).find(|(found, wanted)| **found != *wanted);
    ensure!(lost.is_none() && numbers.len() as u64 >= during, "lost: {lost:?}, {} numbers", numbers.len());
    Ok(format!("{} numbers, none lost; mounts counted right", numbers.len()))
}

fn remove(stage: &mut Stage) -> Result<String> {
    stage.leister.cli(&["delete", "snapshot", "data/before", "--yes"])?.ok()?;
    for volume in ["copy", "other", "data"] {
        stage.engine.docker(&["volume", "rm", volume])?.ok()?;
    }
    let left = stage.leister.list("volumes")?;
    ensure!(left.is_empty(), "still there: {left:?}");
    Ok("no volume is left".into())
}

fn doctor(stage: &mut Stage) -> Result<String> {
    let said = stage.leister.cli(&["doctor"])?.ok()?;
    Ok(said.lines().next().unwrap_or("no finding").to_owned())
}

/// What has been told so far: lines at once, a table in the end.
struct Told {
    started: Instant,
    table: Table,
    coloured: bool,
    number: usize,
}

impl Told {
    fn new() -> Self {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["", "step", "seen", "time"]);
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: Instant::now(), table, coloured, number: 0 }
    }

    fn step<T>(&mut self, title: &str, act: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        self.number += 1;
        let started = Instant::now();
        let done = act();
        let took = format!("{:.2} s", started.elapsed().as_secs_f64());
        let (mark, seen) = match &done {
            Ok((_, seen)) => (self.colour("32", "ok"), seen.as_str()),
            Err(_) => (self.colour("31", "FAILED"), "see below"),
        };
        println!("{:>3}  {mark}  {took:>8}  {title}: {seen}", self.number);
        self.table.add_row([self.number.to_string(), title.to_owned(), seen.to_owned(), took]);
        done.map(|(value, _)| value).with_context(|| title.to_owned())
    }

    fn colour(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
