//! Commands in a guest: they go in by its control line, and what they say comes back as files in its shared folder.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::guest::Guest;
use crate::process::Process;
use crate::wait;

const PROCESSES: &str = "ps -o pid,ppid,stat,wchan:30,time,args --ppid 2 -p 2 --deselect
    for process in /proc/[0-9]*; do
        stack=$(cat $process/stack 2>/dev/null)
        [ -n \"$stack\" ] && [ -e $process/exe ] && echo \"$process\n$stack\"
    done";
const LOOK: Duration = Duration::from_secs(10);

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a command that failed says so here only"]
pub struct Output {
    /// Its exit code; [`Output::TIMED_OUT`] when it was killed at its limit, [`Output::NOT_RUN`] when the guest died or
    /// could not be asked (`stderr` says why).
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub const TIMED_OUT: i32 = 124;
    pub const NOT_RUN: i32 = 125;

    pub fn is_ok(&self) -> bool {
        self.code == 0
    }

    /// What it wrote, without the last line's end.
    ///
    /// # Panics
    /// With all of it when the command failed.
    #[track_caller]
    #[allow(clippy::must_use_candidate, reason = "often called for the check alone")]
    pub fn ok(self, what: &str) -> String {
        assert!(self.is_ok(), "{what}: code {}\n{}{}", self.code, self.stdout, self.stderr);
        self.stdout.trim_end().to_owned()
    }

    pub(crate) fn not_run(error: &anyhow::Error) -> Self {
        Self { code: Self::NOT_RUN, stdout: String::new(), stderr: format!("{error:#}\n") }
    }
}

/// A command that runs in a guest.
#[derive(Debug)]
pub struct Job {
    id: String,
    share: PathBuf,
    control: PathBuf,
    machine: Process,
}

impl Job {
    pub(crate) fn start(guest: &Guest, script: &str) -> Result<Self> {
        let job =
            Self { id: fresh(), share: guest.share(), control: guest.control(), machine: guest.running()? };
        job.begin(script)?;
        Ok(job)
    }

    fn begin(&self, script: &str) -> Result<()> {
        let path = self.file("sh");
        fs::write(&path, format!("{script}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.tell("run")
    }

    /// Waits for its end, and kills it at the limit.
    pub fn wait(self, limit: Duration) -> Output {
        self.finish(limit)
    }

    /// As [`Job::wait`], and removes its files when it failed: of a condition that does not hold yet nobody reads.
    pub(crate) fn try_once(self, limit: Duration) -> Output {
        let output = self.finish(limit);
        if !output.is_ok() && output.code != Output::TIMED_OUT {
            for end in ["sh", "out", "err", "rc"] {
                // One that did not run has not all of them.
                let _ = fs::remove_file(self.file(end));
            }
        }
        output
    }

    fn finish(&self, limit: Duration) -> Output {
        match self.ended(limit) {
            // It may have ended between the two looks.
            Some(Output::NOT_RUN) if self.code().is_none() => {
                let mut output = self.so_far(Output::NOT_RUN);
                output.stderr += "the guest died before the command ended\n";
                output
            }
            Some(code) => self.so_far(self.code().unwrap_or(code)),
            None => {
                let mut output = self.so_far(Output::TIMED_OUT);
                output.stderr += &format!("killed: it took more than {} s\n", limit.as_secs_f32());
                output.stderr += &self.processes();
                // A guest that is stopped or dead runs nothing either.
                let _ = self.tell("kill");
                output
            }
        }
    }

    fn ended(&self, limit: Duration) -> Option<i32> {
        wait::until(limit, || self.code().or_else(|| (!self.machine.alive()).then_some(Output::NOT_RUN)))
    }

    /// What runs in the guest, and where in the kernel it waits: why something hangs is not to be seen later.
    fn processes(&self) -> String {
        let look = Self {
            id: fresh(),
            share: self.share.clone(),
            control: self.control.clone(),
            machine: self.machine,
        };
        match look.begin(PROCESSES).ok().and_then(|()| look.ended(LOOK)) {
            Some(code) => look.so_far(code).stdout,
            None => "the guest does not say what runs in it\n".to_owned(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.code().is_none() && self.machine.alive()
    }

    /// Kills the command and what it started.
    ///
    /// # Errors
    /// When the guest's control line cannot be written.
    pub fn kill(&self) -> Result<()> {
        self.tell("kill")
    }

    fn code(&self) -> Option<i32> {
        fs::read_to_string(self.file("rc")).ok()?.strip_suffix('\n')?.parse().ok()
    }

    fn so_far(&self, code: i32) -> Output {
        let read = |end| String::from_utf8_lossy(&fs::read(self.file(end)).unwrap_or_default()).into_owned();
        Output { code, stdout: read("out"), stderr: read("err") }
    }

    fn file(&self, end: &str) -> PathBuf {
        self.share.join(format!("{}.{end}", self.id))
    }

    fn tell(&self, verb: &str) -> Result<()> {
        // In one piece: what others write at the same time must not come in between.
        let words = format!("{verb} {}\n", self.id);
        let line = crate::namespace::open_fifo(&self.control)
            .and_then(|mut line| line.write_all(words.as_bytes()).context("cannot write to the guest"));
        line.with_context(|| format!("cannot tell the guest to {verb} a command"))
    }
}

fn fresh() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("job-{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
