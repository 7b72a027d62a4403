//! Nothing of a rig outlives it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rig::{Backend, Rig, Size};

use crate::{LIMIT, can_run};

const OWNER: &str = "RIG_TEST_OWNER";

fn small() -> Rig {
    Rig::builder()
        .guest("one", |g| g.memory(Size::mib(128)))
        .guest("two", |g| g.memory(Size::mib(128)))
        .up()
        .unwrap()
}

/// What of a rig is on this machine.
#[derive(Debug)]
struct Traces {
    folder: PathBuf,
    spaces: BTreeSet<PathBuf>,
}

impl Traces {
    fn of(rig: &Rig) -> Self {
        let spaces = rig.in_namespace(|| fs::read_link("/proc/thread-self/ns/net")).unwrap().unwrap();
        Self { folder: rig.folder().to_path_buf(), spaces: [spaces].into() }
    }

    /// Everything that is still there: processes by their words and namespaces, mounts, the folder.
    fn left(&self) -> Vec<String> {
        let folder = self.folder.to_str().unwrap();
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()) {
            let said = fs::read(entry.join("cmdline")).unwrap_or_default();
            let said = String::from_utf8_lossy(&said).replace('\0', " ");
            let space = fs::read_link(entry.join("ns/net")).unwrap_or_default();
            let is_me = entry.ends_with(std::process::id().to_string());
            if !is_me && (said.contains(folder) || self.spaces.contains(&space)) {
                left.push(format!("{} {said}", entry.display()));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(folder)).map(str::to_owned));
        left.extend(self.folder.exists().then(|| folder.to_owned()));
        left
    }

    fn wait_until_gone(&self) {
        let began = Instant::now();
        while !self.left().is_empty() {
            assert!(began.elapsed() < LIMIT, "left behind: {:#?}", self.left());
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_rig_that_is_dropped_leaves_nothing() {
    if !can_run(Backend::Uml) {
        return;
    }
    let rig = small();
    let traces = Traces::of(&rig);
    assert!(traces.left().len() > 3, "its traces can be seen: {traces:?}");
    rig.guest("two").stop().unwrap();
    // Somebody else's to reap, and not reaped.
    let forgotten = rig.spawn_in_namespace(Command::new("sleep").arg("1000")).unwrap();
    let began = Instant::now();
    drop(rig);
    assert!(began.elapsed() < LIMIT);
    drop(forgotten);
    traces.wait_until_gone();
}

/// Not a test: the process that the next one kills.
#[test]
fn owner() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    let rig = small();
    let traces = Traces::of(&rig);
    let space = traces.spaces.first().unwrap();
    rig.guest("two").stop().unwrap();
    let _job = rig.guest("one").spawn("sleep 1000").unwrap();
    let _process = rig.spawn_in_namespace(Command::new("sleep").arg("1000")).unwrap();
    println!("\nowns {} {}", traces.folder.display(), space.display());
    std::thread::park_timeout(Duration::from_secs(600));
}

#[test]
fn the_death_of_its_owner_leaves_nothing() {
    if !can_run(Backend::Uml) {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "end::owner", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let owns = lines.find_map(|line| line.strip_prefix("owns ").map(str::to_owned));
    let before = owns.as_ref().map(|owns| {
        let (folder, space) = owns.split_once(' ').unwrap();
        let traces = Traces { folder: Path::new(folder).into(), spaces: [space.into()].into() };
        let left = traces.left();
        (traces, left)
    });
    owner.kill().unwrap();
    owner.wait().unwrap();
    let (traces, left) = before.expect("the owner has a rig");
    assert!(left.len() > 3, "its traces can be seen: {left:#?}");
    traces.wait_until_gone();
}
