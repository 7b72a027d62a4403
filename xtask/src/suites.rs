//! Runs test executables and understands what they say.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::checkout::Checkout;
use crate::leftovers;

/// A suite that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// So does one that boots guests, which share the cores with one another and with other suites.
const LIMIT_WITH_GUESTS: Duration = Duration::from_secs(45 * 60);

/// Whole folders of suites that boot guests, or a cluster, which needs the cores as much. Elsewhere such a suite has a
/// name that begins with `guests`.
const GUESTS: &[&str] = &["tests/rig/", "tests/wires/", "tests/site/", "tests/faults/", "tests/kube/"];

/// Suites that boot guests beside other things.
const SOME_GUESTS: &[&str] = &["crates/filer", "crates/linux/conformance"];

/// What user-mode Linux says when it dies of a fault of its own, in a copy to a program's memory: seen once in some
/// twelve runs of all suites, with 7.2, where it wrote to its own read-only data.
const GUEST_DIED: &str = "Kernel panic - not syncing: Segfault without recovery target";

/// One test executable.
#[derive(Debug, Clone)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    /// Its package's folder.
    pub(crate) folder: PathBuf,
}

/// What came of some tests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Test and reason.
    pub(crate) skipped: BTreeMap<String, String>,
    /// What a person needs to see of the failures.
    pub(crate) story: String,
}

impl Outcome {
    pub(crate) fn of_check(result: &Result<()>) -> Self {
        match result {
            Ok(()) => Self { passed: 1, ..Self::default() },
            Err(error) => Self::failure(format!("{error:#}")),
        }
    }

    fn failure(story: String) -> Self {
        Self { failed: 1, story, ..Self::default() }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.story += &other.story;
    }

    /// Reads what a test executable said. One that ended in another way than by its own verdict has failed.
    ///
    /// A test says that this machine cannot run it by a line `skipped: <reason>`. One that has nothing to check, such
    /// as that of an ability which a driver does not claim, says `does not apply: <reason>` and has passed.
    pub(crate) fn parse(said: &str, ended_well: bool) -> Self {
        let mut outcome = Self::default();
        let mut verdict = false;
        let mut failed_tests = Vec::new();
        let mut speaker = None;
        for line in said.lines() {
            if let Some(counts) = line.strip_prefix("test result: ") {
                verdict = true;
                outcome.passed += count(counts, "passed");
                outcome.failed += count(counts, "failed");
                speaker = None;
            } else if let Some(name) = line.strip_prefix("---- ").and_then(|l| l.strip_suffix(" stdout ----"))
            {
                speaker = Some(name.to_owned());
            } else if let Some(test) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED"))
            {
                failed_tests.push(test.to_owned());
            } else if let (Some(test), Some(reason)) = (&speaker, reason_to_skip(line)) {
                outcome.skipped.insert(test.clone(), reason.to_owned());
            }
        }
        outcome.skipped.retain(|test, _| !failed_tests.contains(test));
        outcome.passed = outcome.passed.saturating_sub(outcome.skipped.len());
        if (!verdict || !ended_well) && outcome.failed == 0 {
            outcome.failed = 1;
        }
        if outcome.failed > 0 {
            outcome.story = story(said);
        }
        outcome
    }
}

impl Suite {
    /// Whether it boots machines: those are for a few suites at a time, or none has the cores that its limits are for.
    pub(crate) fn boots_guests(&self) -> bool {
        let own_name = self.name.rsplit('/').next().unwrap_or_default();
        own_name.starts_with("guests")
            || GUESTS.iter().any(|folder| self.name.starts_with(folder))
            || SOME_GUESTS.contains(&self.name.as_str())
    }

    /// Runs it to its end and keeps what it says in `./var/log`.
    ///
    /// # Behavior
    /// One that failed on a guest whose kernel died of itself says nothing of us, and runs once more.
    pub(crate) fn run(&self, checkout: &Checkout) -> (Outcome, Duration) {
        let started = Instant::now();
        let outcome = self.try_run(checkout).unwrap_or_else(|error| Outcome::failure(format!("{error:#}\n")));
        (outcome, started.elapsed())
    }

    fn try_run(&self, checkout: &Checkout) -> Result<Outcome> {
        let name = self.name.replace(['/', ' '], "-");
        let log = checkout.log(&name);
        let (first, said) = self.run_once(checkout, &log)?;
        if first.failed == 0 || !said.contains(GUEST_DIED) {
            return Ok(first);
        }
        let kept = checkout.log(&format!("{name}-first"));
        std::fs::rename(&log, &kept).with_context(|| format!("cannot keep {}", log.display()))?;
        let (mut second, _) = self.run_once(checkout, &log)?;
        let why =
            format!("a guest's kernel died of itself, so it ran twice; the first: {}\n", kept.display());
        second.story.insert_str(0, &why);
        Ok(second)
    }

    fn run_once(&self, checkout: &Checkout, log: &Path) -> Result<(Outcome, String)> {
        let limit = if self.boots_guests() { LIMIT_WITH_GUESTS } else { LIMIT };
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(&self.executable);
        command.arg("--show-output").current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let ended_well = bounded(environment(&mut command, checkout), limit)?;
        let said = std::fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok((Outcome::parse(&said, ended_well), said))
    }
}

/// Tells a program of ours where this checkout's things are.
pub(crate) fn environment<'a>(command: &'a mut Command, checkout: &Checkout) -> &'a mut Command {
    command
        .env("TMPDIR", checkout.temporary())
        .env("LEISTER_BIN", checkout.bin("leister"))
        .env("RUST_BACKTRACE", "1")
        // Expected values are changed by hand, never by a test run.
        .env("INSTA_UPDATE", "no")
}

/// Runs a command and all it starts to its end, or kills them at the limit.
fn bounded(command: &mut Command, limit: Duration) -> Result<bool> {
    let mut child = command.spawn().with_context(|| format!("{command:?} did not start"))?;
    let pid = child.id();
    let (sender, ended) = mpsc::channel();
    let waiting = std::thread::spawn(move || sender.send(child.wait()));
    let status = ended.recv_timeout(limit).or_else(|_| {
        leftovers::kill_with_descendants(pid);
        ended.recv()
    });
    // Its message has been received or can never be; there is nothing to learn from its end.
    let _ = waiting.join();
    Ok(status.context("nobody waited for the command")??.success())
}

/// `skipped: <reason>`, in whatever case.
fn reason_to_skip(line: &str) -> Option<&str> {
    let (word, reason) = line.split_once(": ")?;
    word.eq_ignore_ascii_case("skipped").then_some(reason)
}

/// The number before a word: `12 passed; 0 failed;`.
fn count(counts: &str, word: &str) -> usize {
    let words: Vec<_> = counts.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    let before = words.windows(2).find(|pair| pair[1] == word);
    before.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// The failures' part, or the end of what was said before it broke off.
fn story(said: &str) -> String {
    const LINES: usize = 120;
    let from = said.find("\nfailures:\n").unwrap_or(0);
    let lines: Vec<_> = said[from..].trim().lines().collect();
    let shown = if from == 0 { &lines[lines.len().saturating_sub(LINES)..] } else { &lines[..] };
    shown.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "\nrunning 4 tests\ntest a ... ok\ntest b ... ok\ntest c ... FAILED\ntest d ... ok\n\
        \nsuccesses:\n\n---- b stdout ----\nskipped: no loop devices\n\n\nsuccesses:\n    a\n    b\n    d\n\
        \nfailures:\n\n---- c stdout ----\nskipped: not really\nthread 'c' panicked\n\n\nfailures:\n    c\n\
        \ntest result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";

    #[test]
    fn a_skipped_test_counts_as_skipped_and_not_as_passed() {
        let outcome = Outcome::parse(MIXED, false);
        assert_eq!((outcome.passed, outcome.failed), (2, 1));
        assert_eq!(outcome.skipped, BTreeMap::from([("b".to_owned(), "no loop devices".to_owned())]));
        assert!(
            outcome.story.starts_with("failures:") && outcome.story.contains("panicked"),
            "{}",
            outcome.story
        );
    }

    #[test]
    fn an_executable_that_ends_without_a_verdict_has_failed() {
        for (said, ended_well, failed) in [
            ("test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured\n", true, 0),
            ("test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured\n", false, 1),
            ("test a ... ok\n", true, 1),
            ("memory allocation failed", false, 1),
        ] {
            assert_eq!(Outcome::parse(said, ended_well).failed, failed, "{said}");
        }
    }

    #[test]
    fn suites_that_boot_guests_are_known_by_folder_or_name() {
        for (name, boots) in [
            ("tests/rig/guests", true),
            ("tests/faults/nodes", true),
            ("crates/filer/guests", true),
            ("crates/filer/guests_iscsi", true),
            ("crates/filer", true),
            ("crates/filer/service", false),
            ("tests/docker/volumes", false),
        ] {
            let suite = Suite { name: name.into(), executable: PathBuf::new(), folder: PathBuf::new() };
            assert_eq!(suite.boots_guests(), boots, "{name}");
        }
    }

    #[test]
    fn a_suite_whose_guest_died_of_itself_runs_once_more_aloud_and_any_other_does_not() {
        let good = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n";
        let bad = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured\n";
        let died = format!("{GUEST_DIED}\n{bad}");
        for (first, second, failed, runs) in [
            (good, bad, 0, 1),
            (bad, good, 1, 1),
            (&died, good, 0, 2),
            (&died, bad, 1, 2),
            (&died, &died, 1, 2),
        ] {
            let checkout = tempfile::tempdir().unwrap();
            let root = checkout.path().to_owned();
            std::fs::create_dir_all(root.join("var/log")).unwrap();
            // The second time it says what is in the other file.
            let script = "#!/bin/sh\ncat said; ! grep -q FAILED said; code=$?\necho run >>runs; mv next said; exit $code\n";
            for (name, text) in [("said", first), ("next", second), ("suite", script)] {
                std::fs::write(root.join(name), text).unwrap();
            }
            let executable = root.join("suite");
            std::fs::set_permissions(&executable, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
            let suite = Suite { name: "tests/kube/nodes".into(), executable, folder: root.clone() };
            let (outcome, _) = suite.run(&Checkout { root: root.clone() });
            let ran = std::fs::read_to_string(root.join("runs")).unwrap().lines().count();
            assert_eq!((outcome.failed, ran), (failed, runs), "{first}{second}{outcome:?}");
            let kept = root.join("var/log/tests-kube-nodes-first.log");
            assert_eq!((outcome.story.contains("ran twice"), kept.exists()), (runs == 2, runs == 2));
        }
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("sleep 1000 & echo $! >{}/pid; wait", folder.path().display());
        let started = Instant::now();
        let well = bounded(Command::new("sh").arg("-c").arg(script), Duration::from_secs(1)).unwrap();
        assert!(!well && started.elapsed() < Duration::from_secs(60));
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let gone = |pid: &str| match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        while !gone(&pid) {
            assert!(started.elapsed() < Duration::from_secs(60), "process {pid} lives on");
            std::thread::yield_now();
        }
    }
}
