//! The namespaces of one cluster, and the process that keeps them: its first, with which all others end.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use docker_suite::until;
use docker_suite::{Said, run_by};
use rig::Rig;

const KEEPER: &str = include_str!("keeper.sh");
/// For the end of everything in the namespaces.
const END_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Space {
    processes: OwnedFd,
    /// The first process in the namespaces, by its number outside of them.
    first: u32,
    keeper: Child,
    /// While somebody holds it, the keeper waits: no way of dying can leave it open.
    hold: Option<ChildStdin>,
}

impl Space {
    /// # Behavior
    /// On the networks of a rig, or on one of its own. The folder is removed when the namespaces end.
    ///
    /// # Errors
    /// What cannot be set up.
    pub(crate) fn new(folder: &Path, cgroup: &str, rig: Option<&Rig>) -> Result<Self> {
        let log = File::create(folder.join("keeper.log"))?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL"])
            .args(rig.is_none().then_some("--net"))
            .args(["bash", "-c", KEEPER, "keeper"])
            .arg(folder)
            .arg(cgroup)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let started = match rig {
            Some(rig) => rig.in_namespace(|| command.spawn())?,
            None => command.spawn(),
        };
        let mut keeper = started.context("`unshare` did not start")?;
        let hold = keeper.stdin.take();
        let mut said = String::new();
        let stdout = keeper.stdout.take().context("no pipe from the keeper")?;
        BufReader::new(stdout).read_line(&mut said).context("cannot read from the keeper")?;
        if said != "ready\n" {
            drop(hold);
            let _ = keeper.wait();
            let log = std::fs::read_to_string(folder.join("keeper.log")).unwrap_or_default();
            bail!("cannot set up the cluster's namespaces: {log}");
        }
        let children = format!("/proc/{0}/task/{0}/children", keeper.id());
        let first = std::fs::read_to_string(children)?.trim().parse().context("the keeper has no child")?;
        let processes = OwnedFd::from(File::open(format!("/proc/{first}/ns/pid"))?);
        Ok(Self { processes, first, keeper, hold })
    }

    /// The network of it.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn network(&self) -> Result<OwnedFd> {
        Ok(File::open(format!("/proc/{}/ns/net", self.first))?.into())
    }

    /// A command that is to run inside.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        for name in ["mount", "net", "ipc", "uts"] {
            let file = if name == "mount" { "mnt" } else { name };
            command.arg(format!("--{name}=/proc/{}/ns/{file}", self.first));
        }
        command.arg("--").arg(program);
        command
    }

    /// Starts such a command. It ends with the namespaces.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        // Only what a thread starts after it has moved is inside, so this needs one of its own.
        let inside = || -> Result<Child> {
            let kind = Some(LinkNameSpaceType::ProcessID);
            move_into_link_name_space(self.processes.as_fd(), kind).context("cannot enter the namespaces")?;
            command.spawn().with_context(|| format!("{command:?} did not start"))
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs such a command to its end.
    ///
    /// # Errors
    /// It does not start, or hangs.
    pub(crate) fn run(&self, command: &mut Command, limit: Duration) -> Result<Said> {
        run_by(command, limit, |command| self.spawn(command))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.hold.take());
        if until("the cluster's end", END_LIMIT, || self.keeper.try_wait().ok().flatten()).is_err() {
            let _ = self.keeper.kill();
            let _ = self.keeper.wait();
        }
    }
}
