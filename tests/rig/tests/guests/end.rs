//! Nothing of a rig outlives it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

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
    /// By number and birth: the numbers of processes and namespaces are given out again.
    processes: Vec<(u32, String)>,
}

impl Traces {
    fn of(rig: &Rig) -> Self {
        Self::find(rig.folder(), &space(rig))
    }

    /// Processes that name the folder or are in the network namespace.
    fn find(folder: &Path, space: &Path) -> Self {
        let numbers = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let is_of_it = |number: &u32| {
            let inside = fs::read_link(format!("/proc/{number}/ns/net")).is_ok_and(|link| link == space);
            *number != std::process::id() && (inside || words(*number).contains(folder.to_str().unwrap()))
        };
        let processes =
            numbers.filter(is_of_it).filter_map(|number| Some((number, birth(number)?))).collect();
        Self { folder: folder.to_path_buf(), processes }
    }

    /// Everything that is still there: processes, mounts, the folder.
    fn left(&self) -> Vec<String> {
        let living = self.processes.iter().filter(|(number, born)| birth(*number).as_ref() == Some(born));
        let mut left: Vec<_> = living.map(|(number, _)| format!("{number} {}", words(*number))).collect();
        let folder = self.folder.to_str().unwrap();
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

fn space(rig: &Rig) -> PathBuf {
    rig.in_namespace(|| fs::read_link("/proc/thread-self/ns/net")).unwrap().unwrap()
}

fn words(process: u32) -> String {
    let said = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&said).replace('\0', " ")
}

/// When a process began, unless it has ended; a zombie has.
fn birth(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18).map(str::to_owned)
}

#[test]
fn a_rig_that_is_dropped_leaves_nothing() {
    if !can_run(Backend::Uml) {
        return;
    }
    let rig = small();
    rig.guest("two").stop().unwrap();
    // Nobody asks for its verdict before the rig ends.
    let forgotten = rig.spawn_in_namespace(Command::new("sleep").arg("1000")).unwrap();
    let traces = Traces::of(&rig);
    assert!(traces.left().len() > 5, "its traces can be seen: {traces:?}");
    let began = Instant::now();
    drop(rig);
    assert!(began.elapsed() < LIMIT);
    drop(forgotten);
    traces.wait_until_gone();
}

/// What the process does that the next test kills.
fn own_a_rig() {
    let rig = small();
    rig.guest("two").stop().unwrap();
    let _job = rig.guest("one").spawn("sleep 1000").unwrap();
    let _process = rig.spawn_in_namespace(Command::new("sleep").arg("1000")).unwrap();
    println!("\nowns {} {}", rig.folder().display(), space(&rig).display());
    // A thread may be woken by what was meant for an earlier wait.
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        std::thread::park_timeout(LIMIT);
    }
}

#[test]
fn the_death_of_its_owner_leaves_nothing() {
    if std::env::var_os(OWNER).is_some() {
        return own_a_rig();
    }
    if !can_run(Backend::Uml) {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "end::the_death_of_its_owner_leaves_nothing", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let owns = lines.find_map(|line| line.strip_prefix("owns ").map(str::to_owned));
    let before = owns.as_ref().map(|owns| {
        let (folder, space) = owns.split_once(' ').unwrap();
        let traces = Traces::find(folder.as_ref(), space.as_ref());
        let left = traces.left();
        (traces, left)
    });
    owner.kill().unwrap();
    owner.wait().unwrap();
    let (traces, left) = before.expect("the owner has a rig");
    assert!(left.len() > 5, "its traces can be seen: {left:#?}");
    traces.wait_until_gone();
}
