//! The pid and network namespace of one rig, and the process that keeps them: its first, with which all others end.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Process;

/// Reads until nobody holds the other end, then ends everything in its pid namespace and removes the rig's folder.
const KEEPER: &str = concat!(
    "trap '' HUP INT TERM; echo ready; exec >/dev/null; while read -r _; do :; done; kill -KILL -1; ",
    r#"rm -rf "$1" || { sleep 1; rm -rf "$1"; }"#
);

pub(crate) struct Namespace {
    network: OwnedFd,
    processes: OwnedFd,
    pub(crate) keeper: Process,
    /// Present in the process that made the namespaces, unless they were to outlive it.
    hold: Mutex<Option<(Child, Option<ChildStdin>)>>,
}

impl Namespace {
    /// Makes both. They last as long as this process, or until [`Namespace::end`].
    ///
    /// # Behavior
    /// What tells the keeper of our death is the end of a pipe, which no way of dying can leave open. (A signal by
    /// `PR_SET_PDEATHSIG` would come when the *thread* ends that started the rig.)
    pub(crate) fn new(folder: &Path, outlives_us: bool) -> Result<Self> {
        let log = File::create(folder.join("keeper.log")).context("cannot write the keeper's log")?;
        let mut command = Command::new("unshare");
        command.args(["--net", "--pid", "--fork", "--kill-child=KILL", "sh", "-c", KEEPER, "keeper"]);
        command.arg(folder).current_dir("/").process_group(0);
        command.stdout(Stdio::piped()).stderr(log);
        if outlives_us {
            // The keeper holds the other end itself.
            let path = folder.join("keeper.in");
            make_fifo(&path)?;
            command.stdin(open_fifo(&path)?);
        } else {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().context("`unshare` did not start; install util-linux")?;
        let hold = child.stdin.take();
        let mut said = String::new();
        let stdout = child.stdout.take().context("no pipe from the keeper")?;
        BufReader::new(stdout).read_line(&mut said).context("cannot read from the keeper")?;
        if said != "ready\n" {
            let _ = child.wait();
            let log = std::fs::read_to_string(folder.join("keeper.log")).unwrap_or_default();
            anyhow::bail!("cannot make a pid and a network namespace (is this root?): {log}");
        }
        let keeper = Process::of(child.id())?;
        let hold = (!outlives_us).then_some((child, hold));
        Ok(Self { hold: Mutex::new(hold), ..Self::of(keeper)? })
    }

    /// The namespaces of a keeper that another program started.
    pub(crate) fn of(keeper: Process) -> Result<Self> {
        ensure!(keeper.alive(), "the rig has ended; `rig down` removes what is left, then use `rig up`");
        let open = |name: &str| {
            let path = format!("/proc/{}/ns/{name}", keeper.pid);
            File::open(&path).map(OwnedFd::from).with_context(|| format!("cannot open {path}"))
        };
        let (network, processes) = (open("net")?, open("pid_for_children")?);
        Ok(Self { network, processes, keeper, hold: Mutex::new(None) })
    }

    /// Does something on a thread that is in the network namespace.
    pub(crate) fn on_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.on_thread(&[(&self.network, LinkNameSpaceType::Network)], work)
    }

    /// Starts a process in both namespaces. It ends with them.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        let both =
            [(&self.network, LinkNameSpaceType::Network), (&self.processes, LinkNameSpaceType::ProcessID)];
        let name = command.get_program().to_string_lossy().into_owned();
        self.on_thread(&both, || command.spawn())?.with_context(|| format!("`{name}` did not start"))
    }

    fn on_thread<T: Send>(
        &self,
        places: &[(&OwnedFd, LinkNameSpaceType)],
        work: impl FnOnce() -> T + Send,
    ) -> Result<T> {
        let inside = || {
            for (space, kind) in places {
                move_into_link_name_space(space.as_fd(), Some(*kind))
                    .context("cannot enter the rig's namespaces (is this root?)")?;
            }
            Ok(work())
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Ends every process in the namespaces, and with them the namespaces.
    pub(crate) fn end(&self) -> Result<()> {
        self.keeper.kill().context("cannot end the rig's namespaces")?;
        if let Some((mut child, _pipe)) = self.hold.lock().ok().and_then(|mut hold| hold.take()) {
            child.wait().context("cannot wait for the keeper")?;
        }
        Ok(())
    }
}

/// A process on this machine that is in a rig's namespaces, killed when this is dropped.
#[derive(Debug)]
pub struct HostProcess(pub(crate) Child);

impl std::ops::Deref for HostProcess {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for HostProcess {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn make_fifo(path: &Path) -> Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Both ends, so that it never seems to be at its end.
pub(crate) fn open_fifo(path: &Path) -> Result<File> {
    let both = std::fs::OpenOptions::new().read(true).write(true).open(path);
    both.with_context(|| format!("cannot open {}", path.display()))
}
