//! The only way to run a tool: no shell, C locale, bounded time and output, killed with its request.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::lock::Hold;

/// A tool and its arguments, not yet run.
pub struct Tool {
    name: &'static str,
    args: Vec<Argument>,
    input: Vec<u8>,
    accepted: Vec<i32>,
    limit: Duration,
    directories: Vec<PathBuf>,
    hold: Option<Hold>,
    output: Option<File>,
}

/// What a tool said before it ended with one of the accepted exit codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub code: i32,
    /// At most 64 KiB, from the start.
    pub stdout: String,
    /// At most 4 KiB, from the end.
    pub stderr: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("the tool `{tool}` is not installed; {}", advice(tool))]
    Missing { tool: &'static str },
    #[error("`{command}` could not be started")]
    Start {
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` took longer than {limit:?} and was killed{}", said(stderr))]
    TooLong { command: String, limit: Duration, stderr: String },
    #[error("`{command}` {ending}{}", said(stderr))]
    Failed { command: String, ending: Ending, stderr: String },
}

impl ExecError {
    /// Whether the tool failed with these words.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, ExecError::Failed { stderr, .. } if stderr.contains(words))
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Code(i32),
    Signal(i32),
}

enum Argument {
    Plain(String),
    Secret(String),
}

const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const STDOUT_KEPT: usize = 64 * 1024;
const STDERR_KEPT: usize = 4 * 1024;
const DEFAULT_LIMIT: Duration = Duration::from_secs(30);
/// How long a killed tool may take to be gone: one that hangs in the kernel cannot be waited for.
const DEATH_LIMIT: Duration = Duration::from_secs(5);

impl Tool {
    pub fn new(name: &'static str) -> Tool {
        Tool {
            name,
            args: Vec::new(),
            input: Vec::new(),
            accepted: vec![0],
            limit: DEFAULT_LIMIT,
            directories: DIRECTORIES.iter().map(PathBuf::from).collect(),
            hold: None,
            output: None,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Tool {
        self.args.push(Argument::Plain(arg.into()));
        self
    }

    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Tool {
        self.args.extend(args.into_iter().map(|a| Argument::Plain(a.into())));
        self
    }

    #[must_use]
    pub fn path(self, path: &Path) -> Tool {
        self.arg(path.to_string_lossy().into_owned())
    }

    /// An argument that no message shows. Other users of the machine can see it while the tool runs: prefer
    /// [`Tool::input`].
    #[must_use]
    pub fn secret(mut self, arg: impl Into<String>) -> Tool {
        self.args.push(Argument::Secret(arg.into()));
        self
    }

    /// What the tool reads on its standard input; no message shows it.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Tool {
        self.input = input.into();
        self
    }

    /// Exit codes that are an answer rather than a failure; only 0 when not said.
    #[must_use]
    pub fn accept(mut self, codes: &[i32]) -> Tool {
        self.accepted = codes.to_vec();
        self
    }

    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Tool {
        self.limit = limit;
        self
    }

    /// Where to look for the tool, instead of the system's directories.
    #[must_use]
    pub fn directories(mut self, directories: Vec<PathBuf>) -> Tool {
        self.directories = directories;
        self
    }

    /// Keeps a lock until the tool is gone, also when its request is dropped.
    pub(crate) fn holding(mut self, hold: &Hold) -> Tool {
        self.hold = Some(hold.clone());
        self
    }

    /// Where what it says goes, instead of into [`Output::stdout`]. The tool has the file as long as it lives.
    pub(crate) fn output_to(mut self, file: File) -> Tool {
        self.output = Some(file);
        self
    }

    /// Runs the tool to its end.
    ///
    /// # Behavior
    /// The tool gets its own process group. When the time is up or the future is dropped, the whole group is
    /// killed.
    ///
    /// # Errors
    /// The tool is not installed (names the Debian package), took too long, or ended with a code that is not
    /// accepted; carries the command without its secrets and the end of what it said on stderr.
    pub async fn run(mut self) -> Result<Output, ExecError> {
        let path = self.find().ok_or(ExecError::Missing { tool: self.name })?;
        let command = self.to_string();
        let mut child = Command::new(path);
        child
            .args(self.args.iter().map(Argument::text))
            .env_clear()
            .env("PATH", DIRECTORIES.join(":"))
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(self.output.take().map_or_else(Stdio::piped, Stdio::from))
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let started = std::time::Instant::now();
        let child = child.spawn().map_err(|source| ExecError::Start { command: command.clone(), source })?;
        tracing::debug!(%command, "tool begins");
        // A task of its own: it sees to the death of the tool also when nobody waits for the answer any more.
        let (request, request_gone) = oneshot::channel::<()>();
        let (limit, accepted) = (self.limit, std::mem::take(&mut self.accepted));
        let task = tokio::spawn(drive(child, self.input, limit, request_gone, self.hold));
        let ended = task.await.unwrap_or_else(|e| Ended::Broken(io::Error::other(e)));
        drop(request);
        tracing::debug!(%command, elapsed = ?started.elapsed(), "tool ended");
        match ended {
            Ended::Exited { status, stdout, stderr } => {
                let ending = Ending::from(status);
                let stderr = lossy(&stderr);
                match ending {
                    Ending::Code(code) if accepted.contains(&code) => {
                        Ok(Output { code, stdout: lossy(&stdout), stderr })
                    }
                    _ => Err(ExecError::Failed { command, ending, stderr }),
                }
            }
            Ended::TooLong { stderr } => Err(ExecError::TooLong { command, limit, stderr: lossy(&stderr) }),
            Ended::Broken(source) => Err(ExecError::Start { command, source }),
        }
    }

    fn find(&self) -> Option<PathBuf> {
        self.directories.iter().map(|d| d.join(self.name)).find(|p| p.is_file())
    }
}

/// The command as a message shows it: secrets are stars.
impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for arg in &self.args {
            match arg {
                Argument::Plain(text) => write!(f, " {text}")?,
                Argument::Secret(_) => f.write_str(" ***")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tool({self})")
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Code(code) => write!(f, "failed with exit code {code}"),
            Ending::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

impl From<ExitStatus> for Ending {
    fn from(status: ExitStatus) -> Ending {
        use std::os::unix::process::ExitStatusExt;
        status.code().map_or_else(|| Ending::Signal(status.signal().unwrap_or_default()), Ending::Code)
    }
}

impl Argument {
    fn text(&self) -> &str {
        match self {
            Argument::Plain(text) | Argument::Secret(text) => text,
        }
    }
}

enum Ended {
    Exited { status: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8> },
    TooLong { stderr: Vec<u8> },
    Broken(io::Error),
}

/// Kills a process group when dropped, so that a runtime which is torn down leaves no tool behind either.
struct Group(Option<Pid>);

impl Group {
    fn kill(&self) {
        if let Some(pid) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn drive(
    mut child: Child,
    input: Vec<u8>,
    limit: Duration,
    request_gone: oneshot::Receiver<()>,
    hold: Option<Hold>,
) -> Ended {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut kept_out = Vec::new();
    let mut kept_err = Vec::new();
    let work = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A tool that does not want its input says why by its exit code.
                let _ = stdin.write_all(&input).await;
            }
        };
        let (status, (), (), ()) = tokio::join!(
            child.wait(),
            feed,
            keep_head(stdout, &mut kept_out),
            keep_tail(stderr, &mut kept_err)
        );
        status
    };
    let status = tokio::select! {
        status = work => Some(status),
        () = tokio::time::sleep(limit) => None,
        _ = request_gone => None,
    };
    let ended = match status {
        Some(Ok(status)) => {
            // Its number may be another's by now.
            group.0 = None;
            Ended::Exited { status, stdout: kept_out, stderr: kept_err }
        }
        Some(Err(error)) => Ended::Broken(error),
        None => {
            group.kill();
            if tokio::time::timeout(DEATH_LIMIT, child.wait()).await.is_err() {
                // It may still write what it was writing: nobody may go on before that has ended.
                tokio::spawn(async move {
                    let _ = child.wait().await;
                    drop(hold);
                });
            }
            Ended::TooLong { stderr: kept_err }
        }
    };
    drop(group);
    ended
}

async fn keep_head(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    read(pipe, |chunk| {
        let room = STDOUT_KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
    })
    .await;
}

async fn keep_tail(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    read(pipe, |chunk| {
        kept.extend_from_slice(chunk);
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..surplus);
    })
    .await;
}

/// Reads to the end whatever is kept, so that a talkative tool never waits for us.
async fn read(pipe: Option<impl AsyncRead + Unpin>, mut keep: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
        keep(&buffer[..n]);
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn said(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
}

/// Whether a tool is in the system's directories below `root`.
pub(crate) fn is_installed(root: &Path, tool: &str) -> bool {
    DIRECTORIES.iter().any(|d| root.join(d.trim_start_matches('/')).join(tool).is_file())
}

/// How to get a tool.
pub(crate) fn advice(tool: &str) -> String {
    match package(tool) {
        Some(package) => format!("install the Debian package {package}"),
        None => "install it on this node".to_owned(),
    }
}

/// The Debian package that holds a tool.
fn package(tool: &str) -> Option<&'static str> {
    Some(match tool {
        "blkid" | "mount" | "losetup" | "wipefs" => "util-linux",
        "mkfs.ext3" | "mkfs.ext4" | "e2fsck" | "resize2fs" => "e2fsprogs",
        "mkfs.xfs" | "xfs_growfs" | "xfs_admin" | "xfs_repair" => "xfsprogs",
        "mkfs.btrfs" | "btrfs" => "btrfs-progs",
        "mount.nfs" => "nfs-common",
        "iscsiadm" | "iscsid" => "open-iscsi",
        "multipath" | "multipathd" => "multipath-tools",
        "cryptsetup" => "cryptsetup-bin",
        "modprobe" => "kmod",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
