//! `kill -9` at the worst moments: nothing lost, leaked or doubled, and containers notice nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use docker_suite::{Leister, LeisterSpec, Remote, Stage, needs_the_machine, run, until};

const LIMIT: Duration = Duration::from_secs(60);
const KILLS: u64 = 100;
const WORKERS: u64 = 3;

/// Counts for ever, each number on disk before the next.
const COUNT: &str = "i=0; while true; do i=$((i+1)); echo $i >>/data/numbers; sync -d /data/numbers; done";

#[test]
fn a_container_writes_on_through_ten_kills_and_its_mounts_stay_counted() -> Result<()> {
    needs_the_machine!();
    let mut stage = Stage::alone()?;
    stage.create("counted", &["size=256MiB"])?.ok()?;
    stage.background("counter", "counted", COUNT)?;
    let last = |stage: &Stage| -> Result<u64> {
        Ok(stage.engine.docker(&["exec", "counter", "tail", "-n", "1", "/data/numbers"])?.ok()?.parse()?)
    };
    let mut seen = until("the first number", LIMIT, || last(&stage).ok())?;
    for kill in 1..=10 {
        stage.leister.kill()?;
        seen = until("counting without leister", LIMIT, || last(&stage).ok().filter(|now| *now > seen))?;
        stage.leister.restart()?;
        ensure!(stage.mount_count("counted")? == 1, "after kill {kill}: {}", stage.status("counted")?);
        stage.shell("counted", "test -s /data/numbers")?.ok()?;
        ensure!(
            stage.mount_count("counted")? == 1,
            "a second user left, kill {kill}: {}",
            stage.status("counted")?
        );
    }
    stage.engine.docker(&["rm", "--force", "counter"])?.ok()?;
    ensure!(stage.mount_count("counted")? == 0, "{}", stage.status("counted")?);
    let numbers = stage.shell("counted", "cat /data/numbers")?.ok()?;
    let numbers: Vec<u64> = numbers.lines().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(numbers.iter().zip(1..).all(|(found, wanted)| *found == wanted), "a number is lost");
    ensure!(numbers.len() as u64 >= seen, "{} numbers, {seen} were seen", numbers.len());
    stage.engine.docker(&["volume", "rm", "counted"])?.ok()?;
    stage.finish(&[])
}

#[test]
fn a_container_started_while_leister_is_away_gets_its_volume_when_it_is_back() -> Result<()> {
    needs_the_machine!();
    let mut stage = Stage::alone()?;
    stage.create("awaited", &["size=64MiB"])?.ok()?;
    stage.shell("awaited", "echo kept >/data/file")?.ok()?;
    stage.leister.kill()?;
    let engine = stage.engine.clone();
    let waiting = std::thread::spawn(move || {
        engine.docker(&[
            "run",
            "--rm",
            "--network=none",
            "-v",
            "awaited:/data",
            "busybox",
            "cat",
            "/data/file",
        ])
    });
    stage.leister.restart()?;
    let read = waiting.join().ok().context("the waiting thread panicked")??.ok()?;
    ensure!(read == "kept", "{read}");
    stage.engine.docker(&["volume", "rm", "awaited"])?.ok()?;
    stage.finish(&[])
}

#[test]
fn a_hundred_kills_under_load_lose_leak_and_double_nothing() -> Result<()> {
    needs_the_machine!();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos();
    println!("seed {seed}");
    let folder = tempfile::Builder::new().prefix("kills-").tempdir()?;
    let mut leister = LeisterSpec::new(folder.path(), folder.path()).start()?;
    let (done, repeated) = (AtomicU64::new(0), AtomicU64::new(0));
    let stopping = AtomicBool::new(false);

    let expected = std::thread::scope(|scope| -> Result<BTreeSet<Expected>> {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let worker = Worker {
                    number,
                    remote: leister.remote(),
                    done: &done,
                    repeated: &repeated,
                    stopping: &stopping,
                };
                scope.spawn(move || worker.work())
            })
            .collect();
        let killed = kill_often(&mut leister, u64::from(seed), &done);
        // Also when it failed: the workers must end before this scope can.
        stopping.store(true, Ordering::Relaxed);
        if killed.is_err() {
            drop(leister.restart());
        }
        let mut expected = BTreeSet::new();
        for worker in workers {
            expected.extend(worker.join().ok().context("a worker panicked")??);
        }
        killed.map(|()| expected)
    })?;

    let (done, repeated) = (done.into_inner(), repeated.into_inner());
    println!("{done} commands, {repeated} of them repeated, {} volumes left", expected.len());
    ensure!(repeated > KILLS / 4 && !expected.is_empty(), "the kills hit nothing: this shows little");
    ensure!(recorded(&leister)? == expected, "records: {:#?}\nexpected: {expected:#?}", recorded(&leister)?);
    same_on_disk(&leister, &expected)?;
    let mounts = leister.mounts();
    ensure!(mounts.len() <= 1, "more than the pool is mounted: {mounts:?}");
    leister.cli(&["doctor"])?.ok()?;
    leister.stop()?;
    let complaints = leister.complaints(&[]);
    ensure!(complaints.is_empty(), "unexpected in the log:\n{}", complaints.join("\n"));
    Ok(())
}

/// A volume with its size and snapshots.
type Expected = (String, u64, u64);

struct Worker<'a> {
    number: u64,
    remote: Remote,
    done: &'a AtomicU64,
    /// Commands that failed for the kills, and were given again.
    repeated: &'a AtomicU64,
    stopping: &'a AtomicBool,
}

impl Worker<'_> {
    /// Makes volumes, snapshots and clones, and removes most of them. What is left is returned.
    fn work(&self) -> Result<BTreeSet<Expected>> {
        let mut left = BTreeSet::new();
        for round in 0_u64.. {
            if self.stopping.load(Ordering::Relaxed) {
                break;
            }
            let volume = format!("w{}-{round}", self.number);
            let copy = format!("{volume}-copy");
            self.insist(&["create", "volume", &volume, "--size", "16MiB"])?;
            self.insist(&["snapshot", &volume, "s"])?;
            self.insist(&["clone", &volume, &copy, "--snapshot", "s"])?;
            self.insist(&["grow", &volume, "32MiB"])?;
            self.insist(&["restore", &volume, "s", "--yes"])?;
            if round % 8 == 0 {
                left.extend([(volume, 32 << 20, 1), (copy, 16 << 20, 0)]);
            } else {
                self.insist(&["delete", "volume", &copy, "--yes", "--ignore-not-found"])?;
                self.insist(&["delete", "volume", &volume, "--snapshots", "--yes", "--ignore-not-found"])?;
            }
        }
        Ok(left)
    }

    /// Repeats a command until it has worked, as a person would whose server comes and goes.
    fn insist(&self, words: &[&str]) -> Result<()> {
        let mut last = String::new();
        until(&words.join(" "), LIMIT, || {
            let said = self.remote.cli(words).ok()?;
            let worked = said.code == Some(0);
            last = said.err;
            if !worked {
                self.repeated.fetch_add(1, Ordering::Relaxed);
            }
            worked.then_some(())
        })
        .with_context(|| format!("at last it said: {last}"))?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Kills when a random number of commands has been done since it was ready, and sometimes before it is ready.
fn kill_often(leister: &mut Leister, seed: u64, done: &AtomicU64) -> Result<()> {
    let mut random = seed | 1;
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (early, some) = (random >> 33 & 7 == 0, random >> 40 & 15);
        let until_now = done.load(Ordering::Relaxed);
        if !early {
            let enough = || (done.load(Ordering::Relaxed) >= until_now + some).then_some(());
            until("commands to be done", LIMIT, enough).with_context(|| format!("after kill {kill}"))?;
        }
        leister.kill()?;
        leister.spawn()?;
        if !early {
            leister.wait_ready()?;
        }
    }
    leister.wait_ready()
}

fn recorded(leister: &Leister) -> Result<BTreeSet<Expected>> {
    let number = |value: &serde_json::Value| value.as_u64().context("no number");
    let volume = |view: &serde_json::Value| -> Result<Expected> {
        ensure!(view["status"] == "ready", "{view}");
        let name = view["name"].as_str().context("no name")?;
        Ok((name.to_owned(), number(&view["size"])?, number(&view["snapshots"])?))
    };
    leister.list("volumes")?.iter().map(volume).collect()
}

/// The pool holds one folder for each volume, one subvolume for each volume and snapshot, and nothing half-done.
fn same_on_disk(leister: &Leister, expected: &BTreeSet<Expected>) -> Result<()> {
    let mounts = leister.mounts();
    let pool = mounts.first().context("no pool is mounted")?;
    let handles: BTreeSet<_> = leister
        .list("volumes")?
        .iter()
        .map(|view| view["handle"].as_str().map(str::to_owned).context("no handle"))
        .collect::<Result<_>>()?;
    let folders = names(&pool.join("volumes"))?;
    ensure!(folders == handles, "on disk: {folders:?}\nrecords: {handles:?}");
    for half_done in [".staging", ".trash"] {
        let left = || names(&pool.join(half_done)).ok().filter(BTreeSet::is_empty);
        until(&format!("{half_done} to be empty"), LIMIT, left)?;
    }
    let listed = run(Command::new("btrfs").args(["subvolume", "list"]).arg(pool))?.ok()?;
    let wanted = expected.iter().map(|(_, _, snapshots)| 1 + snapshots).sum::<u64>();
    ensure!(listed.lines().count() as u64 == wanted, "{wanted} subvolumes were expected:\n{listed}");
    Ok(())
}

fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
