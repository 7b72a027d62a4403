//! Running a user's commands, and what they said.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::wait::until;

/// A user's command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// What a command said.
#[derive(Debug, Clone)]
pub struct Said {
    command: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Without white space at its ends.
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Said {
    /// # Errors
    /// When the command failed; the message has what it wrote.
    pub fn ok(self) -> Result<String> {
        ensure!(
            self.code == Some(0),
            "`{}` failed ({:?}): {}\n{}",
            self.command,
            self.code,
            self.err,
            self.out
        );
        Ok(self.out)
    }

    /// # Errors
    /// When the command worked although it should have been refused.
    pub fn refused(self) -> Result<String> {
        ensure!(self.code.is_some_and(|code| code != 0), "`{}` was not refused: {}", self.command, self.out);
        Ok(format!("{}\n{}", self.err, self.out))
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it does not start, or hangs (it is killed then). A command that fails is no error: see [`Said::ok`].
pub fn run(command: &mut Command) -> Result<Said> {
    run_within(command, LIMIT)
}

/// The same with another limit.
///
/// # Errors
/// As [`run`].
pub fn run_within(command: &mut Command, limit: Duration) -> Result<Said> {
    let name = command.get_program().to_string_lossy().into_owned();
    run_by(command, limit, |command| command.spawn().with_context(|| format!("`{name}` did not start")))
}

/// The same, started in the given way.
///
/// # Errors
/// As [`run`].
pub fn run_by(
    command: &mut Command,
    limit: Duration,
    spawn: impl FnOnce(&mut Command) -> Result<Child>,
) -> Result<Said> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    // Files, not pipes: a child that outlives the command would hold a pipe open.
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let started = Instant::now();
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
    let mut child = spawn(command)?;
    let status = until(&format!("`{line}`"), limit, || child.try_wait().transpose());
    let Ok(status) = status else {
        child.kill().context("a command that hangs cannot be killed")?;
        child.wait()?;
        bail!("`{line}` hangs; so far it said: {}\n{}", text(&mut err)?, text(&mut out)?);
    };
    let took = started.elapsed();
    Ok(Said { command: line, code: status?.code(), out: text(&mut out)?, err: text(&mut err)?, took })
}

/// Where a program is. Root's programs are looked for also when `PATH` does not name their folder.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
