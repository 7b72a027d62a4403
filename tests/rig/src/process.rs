//! A process that may have been started by another program, and must not be taken for a later one of its number.

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::wait;

/// Long enough for a machine that swaps; a killed process needs milliseconds.
const DEATH: Duration = Duration::from_secs(60);

/// A process that leads its own group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it began, in the kernel's ticks.
    born: u64,
}

impl Process {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let (_, born) = stat(pid).with_context(|| format!("process {pid} has ended"))?;
        Ok(Self { pid, born })
    }

    /// Whether it still runs. One that has ended and was not asked for its verdict runs no more.
    pub(crate) fn alive(self) -> bool {
        stat(self.pid).is_some_and(|(state, born)| born == self.born && state != "Z" && state != "X")
    }

    /// Whether it was stopped by a signal.
    pub(crate) fn stopped(self) -> bool {
        stat(self.pid).is_some_and(|(state, _)| state == "T")
    }

    /// Sends it a signal, if it still runs.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<()> {
        self.send(signal, kill_process)
    }

    /// Kills its whole group, and waits until it runs no more.
    pub(crate) fn kill(self) -> Result<()> {
        self.send(Signal::KILL, kill_process_group)
            .with_context(|| format!("cannot kill process {}", self.pid))?;
        wait::until(DEATH, || (!self.alive()).then_some(()))
            .with_context(|| format!("process {} does not end although it was killed", self.pid))
    }
}

impl Process {
    fn send(self, signal: Signal, to: fn(Pid, Signal) -> rustix::io::Result<()>) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw).filter(|_| self.alive()) else {
            return Ok(());
        };
        match to(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// State and time of birth.
fn stat(pid: u32) -> Option<(String, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also brackets.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.nth(18)?.parse().ok()?))
}
