//! `make test`: every check and every suite, side by side where the machine has the cores, summed up in one line.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::build;
use crate::checkout::Checkout;
use crate::leftovers;
use crate::suites::{Outcome, Suite, environment};

/// Suites that take longest begin first.
const SLOW: &[&str] = &[
    "tests/kube/nodes",
    "tests/kube/lost",
    "tests/site",
    "crates/linux/guests_remote",
    "tests/wires",
    "tests/kube",
    "tests/faults/stock",
    "tests/",
    "crates/leister",
    "crates/filer",
    "crates/linux",
    "crates/orchestrator",
];

/// All of it, or only suites whose names begin with one of some words.
pub(crate) fn command(checkout: &Checkout, wanted: &[String]) -> Result<()> {
    prepare(checkout)?;
    let started = Instant::now();
    let mut report = Report::new();

    if wanted.is_empty() {
        report.check("formatting", || cargo(checkout, &["fmt", "--all", "--check"]));
        report.check("clippy", || {
            cargo(
                checkout,
                &["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
            )
        });
    }
    let mut suites = Vec::new();
    report.check("build", || {
        suites = build::everything(checkout)?;
        Ok(())
    });
    if !wanted.is_empty() {
        suites = only(suites, wanted)?;
    }
    let began = Instant::now();
    suites
        .sort_by_key(|suite| SLOW.iter().position(|slow| suite.name.starts_with(slow)).unwrap_or(SLOW.len()));
    let report = side_by_side(checkout, suites, report);
    let mut report = report.into_inner().context("a suite's thread panicked")?;
    if wanted.is_empty() {
        let began = Instant::now();
        let examples = examples(checkout).unwrap_or_else(|error| Outcome::of_check(&Err(error)));
        report.add("examples in the documentation", examples, began.elapsed());
    } else {
        println!("the suites took {}", minutes(began.elapsed()));
    }
    report.check("nothing left behind", || leftovers::none(&leftovers::find(&[checkout.temporary()])));
    if report.sum.failed == 0 {
        leftovers::sweep(&checkout.temporary())?;
    }
    report.finish(started.elapsed())
}

/// Makes the folders, and undoes what an interrupted run left.
pub(crate) fn prepare(checkout: &Checkout) -> Result<()> {
    leftovers::sweep(&checkout.temporary())?;
    for folder in [checkout.temporary(), checkout.log("x").with_file_name("")] {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(())
}

fn cargo(checkout: &Checkout, arguments: &[&str]) -> Result<()> {
    let mut cargo = checkout.cargo();
    let status = environment(cargo.args(arguments), checkout).status().context("cargo did not start")?;
    ensure!(status.success(), "`cargo {}` failed", arguments.join(" "));
    Ok(())
}

/// Those whose names begin with one of the words.
fn only(suites: Vec<Suite>, wanted: &[String]) -> Result<Vec<Suite>> {
    let is_wanted = |suite: &Suite, word: &String| suite.name.starts_with(word.as_str());
    for word in wanted {
        let known = suites.iter().any(|suite| is_wanted(suite, word));
        let names = || suites.iter().map(|suite| suite.name.as_str()).collect::<Vec<_>>().join(", ");
        ensure!(known, "no suite begins with `{word}`; there are: {}", names());
    }
    Ok(suites.into_iter().filter(|suite| wanted.iter().any(|word| is_wanted(suite, word))).collect())
}

fn minutes(time: Duration) -> String {
    format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
}

/// Runs the examples that stand in documentation comments.
fn examples(checkout: &Checkout) -> Result<Outcome> {
    let mut cargo = checkout.cargo();
    cargo.args(["test", "--quiet", "--locked", "--workspace", "--doc"]);
    let output = environment(&mut cargo, checkout).output().context("cargo did not start")?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Outcome::parse(&String::from_utf8_lossy(&said), output.status.success()))
}

fn side_by_side(checkout: &Checkout, suites: Vec<Suite>, report: Report) -> Mutex<Report> {
    // Suites with guests wait most of the time: beside them there is room for one more.
    let threads = GUESTS_AT_ONCE + std::thread::available_parallelism().map_or(1, usize::from) / 2;
    let waiting = Mutex::new(Waiting::new(suites));
    let report = Mutex::new(report);
    let work = || {
        // A poisoned lock means another worker panicked: the scope passes that on.
        while let Some(suite) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
            let (outcome, took) = suite.run(checkout);
            if let Ok(mut waiting) = waiting.lock() {
                waiting.has_ended(&suite);
            }
            if let Ok(mut report) = report.lock() {
                report.add(&suite.name, outcome, took);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    report
}

/// So many suites may have guests up.
const GUESTS_AT_ONCE: usize = 2;

/// Suites that have not begun.
struct Waiting {
    suites: VecDeque<Suite>,
    with_guests: usize,
}

impl Waiting {
    fn new(suites: Vec<Suite>) -> Self {
        Self { suites: suites.into(), with_guests: 0 }
    }

    /// The first that may begin. A worker that is told there is none may end: whoever runs guests takes the rest.
    fn next(&mut self) -> Option<Suite> {
        let may = |suite: &Suite| self.with_guests < GUESTS_AT_ONCE || !suite.boots_guests();
        let at = self.suites.iter().position(may)?;
        let suite = self.suites.remove(at)?;
        self.with_guests += usize::from(suite.boots_guests());
        Some(suite)
    }

    fn has_ended(&mut self, suite: &Suite) {
        self.with_guests -= usize::from(suite.boots_guests());
    }
}

struct Report {
    sum: Outcome,
    skips_fail: bool,
}

impl Report {
    fn new() -> Self {
        Self { sum: Outcome::default(), skips_fail: can_do_everything() }
    }

    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        let started = Instant::now();
        let result = check();
        self.add(name, Outcome::of_check(&result), started.elapsed());
    }

    fn add(&mut self, name: &str, mut outcome: Outcome, took: Duration) {
        if self.skips_fail && !outcome.skipped.is_empty() {
            outcome.failed += outcome.skipped.len();
            for (test, reason) in std::mem::take(&mut outcome.skipped) {
                outcome.story +=
                    &format!("{test} was skipped on a machine that has all it needs: {reason}\n");
            }
        }
        if outcome.passed + outcome.failed + outcome.skipped.len() > 0 {
            let verdict = if outcome.failed == 0 { "ok    " } else { "FAILED" };
            println!("{verdict} {:>7.1} s {:>5}  {name}", took.as_secs_f64(), outcome.passed);
        }
        for (test, reason) in &outcome.skipped {
            println!("       skipped: {test}: {reason}");
        }
        for line in outcome.story.lines() {
            println!("       {line}");
        }
        self.sum.add(outcome);
    }

    fn finish(self, took: Duration) -> Result<()> {
        let Outcome { passed, failed, skipped, .. } = self.sum;
        println!("in {}", minutes(took));
        println!("{passed} passed, {failed} failed, {} skipped", skipped.len());
        if failed > 0 {
            // The line above is the last word.
            std::process::exit(1);
        }
        Ok(())
    }
}

/// Whether this machine has all that any test needs. A skip here would hide a fault.
fn can_do_everything() -> bool {
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has =
        |wanted: &str| filesystems.lines().any(|line| line.trim_start_matches("nodev").trim() == wanted);
    let on_path = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
    };
    rustix::process::geteuid().is_root()
        && ["/dev/loop-control", "/dev/net/tun"].into_iter().all(|device| Path::new(device).exists())
        && ["btrfs", "ext4", "xfs", "overlay"].into_iter().all(has)
        && ["dockerd", "docker", "docker-compose", "mkfs.btrfs", "mkfs.xfs", "mkfs.ext4"]
            .into_iter()
            .all(on_path)
        && on_path("qemu-system-x86_64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_how_their_names_begin() {
        let suite = |name: &str| Suite { name: name.into(), executable: "".into(), folder: "".into() };
        let all = || ["tests/kube/nodes", "tests/kube/store", "crates/store"].map(suite).to_vec();
        let names = |words: &[&str]| -> Result<Vec<String>> {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            Ok(only(all(), &words)?.into_iter().map(|suite| suite.name).collect())
        };
        assert_eq!(names(&["tests/kube"]).unwrap(), ["tests/kube/nodes", "tests/kube/store"]);
        assert_eq!(names(&["crates", "tests/kube/n"]).unwrap(), ["tests/kube/nodes", "crates/store"]);
        let error = names(&["tests/cube"]).unwrap_err().to_string();
        assert!(error.contains("`tests/cube`") && error.contains("crates/store"), "{error}");
    }

    #[test]
    fn two_suites_with_guests_run_at_a_time_beside_others() {
        let suite = |name: &str| Suite { name: name.into(), executable: "".into(), folder: "".into() };
        let names = ["tests/rig/guests", "tests/site/site", "tests/faults/nodes", "tests/docker/volumes"];
        let mut waiting = Waiting::new(names.map(suite).into());
        let mut next = |ended: Option<&Suite>| {
            ended.into_iter().for_each(|suite| waiting.has_ended(suite));
            waiting.next()
        };
        let [rig, site, docker] = [(); 3].map(|()| next(None).unwrap());
        assert_eq!([&rig.name, &site.name, &docker.name], [names[0], names[1], names[3]]);
        assert!(next(Some(&docker)).is_none(), "guests are still up");
        assert_eq!(next(Some(&rig)).unwrap().name, names[2]);
    }

    #[test]
    fn a_skip_fails_where_the_machine_can_do_everything() {
        for (skips_fail, failed, skipped) in [(true, 1, 0), (false, 0, 1)] {
            let mut report = Report { sum: Outcome::default(), skips_fail };
            let skips = [("a".to_owned(), "no loop devices".to_owned())].into();
            report.add("sample", Outcome { passed: 1, skipped: skips, ..Outcome::default() }, Duration::ZERO);
            let sum = &report.sum;
            assert_eq!((sum.passed, sum.failed, sum.skipped.len()), (1, failed, skipped));
        }
    }
}
