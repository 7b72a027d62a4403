//! A program that serves for as long as the cluster does, unless a test ends it.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::space::Space;
use docker_suite::until;

const END_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Daemon {
    pub(crate) name: String,
    /// Runs the first time, in place of the program.
    first: Option<PathBuf>,
    program: PathBuf,
    words: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    pub(crate) fn new(name: &str, program: PathBuf, words: Vec<String>, log: PathBuf) -> Self {
        Self { name: name.to_owned(), first: None, program, words, log, child: None }
    }

    /// This program runs until the daemon is ended; the other takes its place when it is started again.
    pub(crate) fn at_first(mut self, first: Option<PathBuf>) -> Self {
        self.first = first;
        self
    }

    pub(crate) fn start(&mut self, space: &Space) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let first = self.first.take();
        let mut command = space.command(first.as_ref().unwrap_or(&self.program));
        command.args(&self.words).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(space.spawn(&mut command)?);
        Ok(())
    }

    /// # Errors
    /// It has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.end_of_log()),
            None => Ok(()),
        }
    }

    /// Kills it as a loss of power would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.check()?;
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends it as an operator would.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.check()?;
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let status =
            until(&format!("the end of {}", self.name), END_LIMIT, || child.try_wait().ok().flatten())?;
        ensure!(status.success(), "{} ended badly ({status}):\n{}", self.name, self.end_of_log());
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn end_of_log(&self) -> String {
        const LINES: usize = 12;
        const WIDTH: usize = 300;
        let log = self.log();
        let lines: Vec<String> = log.lines().map(|line| line.chars().take(WIDTH).collect()).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// Whoever started a process in the namespaces has to bury it: until then they do not end.
impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
