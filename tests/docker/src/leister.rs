//! The real `leister`: started, killed, started again, spoken to as a user does.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::remote::{Remote, program};
use crate::said::Said;
use crate::undo;
use crate::wait::until;

const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How to start an instance.
#[derive(Debug, Clone)]
pub struct LeisterSpec {
    /// The name Docker knows it by.
    pub name: String,
    pub state: PathBuf,
    pub pool: PathBuf,
    pub pool_size: String,
    /// Where Docker looks for its socket.
    pub plugins: PathBuf,
    /// Where its log, its API socket and its settings lie.
    pub folder: PathBuf,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

impl LeisterSpec {
    /// An instance in a folder of its own, under a name that no other of this program has.
    pub fn new(folder: &Path, plugins: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            name: format!("leister-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            plugins: plugins.to_path_buf(),
            state: folder.join("state"),
            pool: folder.join("pool"),
            pool_size: "4GiB".into(),
            folder: folder.to_path_buf(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Starts it without waiting until it is ready.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn spawn(self) -> Result<Leister> {
        std::fs::create_dir_all(&self.folder)?;
        let mut leister = Leister { spec: self, child: None };
        leister.spawn()?;
        Ok(leister)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; the message has its log.
    pub fn start(self) -> Result<Leister> {
        let mut leister = self.spawn()?;
        leister.wait_ready()?;
        Ok(leister)
    }
}

/// An instance. Dropping it stops it and undoes its mounts and loop devices.
pub struct Leister {
    spec: LeisterSpec,
    child: Option<Child>,
}

impl Leister {
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn spec(&self) -> &LeisterSpec {
        &self.spec
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it as a power cut would: no signal it could answer to.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it is not running")?;
        ensure!(child.try_wait()?.is_none(), "it had ended by itself:\n{}", self.log());
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts it again after it was killed or stopped, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub fn restart(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// When it is not running, or ended in another way than well.
    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it is not running")?;
        undo::stop(&mut child, STOP_LIMIT);
        let status = child.wait()?;
        ensure!(status.success(), "it ended badly ({status}):\n{}", self.log());
        Ok(())
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// When it ends before, or at the limit; the message has its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let remote = self.remote();
        let mut child = self.child.take().context("it is not running")?;
        let seen = until("leister to be ready", READY_LIMIT, || {
            if remote.is_ready() {
                return Some(None);
            }
            child.try_wait().ok().flatten().map(Some)
        });
        self.child = Some(child);
        match seen {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("leister ended ({status}):\n{}", self.log()),
            Err(late) => bail!("{late}:\n{}", self.log()),
        }
    }

    /// Whether `/readyz` says yes now.
    pub fn is_ready(&self) -> bool {
        self.remote().is_ready()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it still runs at the limit.
    pub fn wait_end(&mut self) -> Result<i32> {
        let child = self.child.as_mut().context("it is not running")?;
        let status = until("leister to end", READY_LIMIT, || child.try_wait().transpose())??;
        self.child = None;
        status.code().context("a signal ended it")
    }

    /// A user at work with this instance, whether it runs or not.
    pub fn remote(&self) -> Remote {
        Remote::new(&self.spec.folder)
    }

    /// As [`Remote::cli`].
    ///
    /// # Errors
    /// As [`Remote::cli`].
    pub fn cli(&self, words: &[&str]) -> Result<Said> {
        self.remote().cli(words)
    }

    /// As [`Remote::create_from`].
    ///
    /// # Errors
    /// As [`Remote::create_from`].
    pub fn create_from(&self, kind: &str, text: &str) -> Result<()> {
        self.remote().create_from(kind, text)
    }

    /// As [`Remote::list`].
    ///
    /// # Errors
    /// As [`Remote::list`].
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        self.remote().list(kind)
    }

    /// Everything it has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Lines of its log that tell of something wrong, except those that contain one of these texts.
    pub fn complaints(&self, expected: &[&str]) -> Vec<String> {
        let wrong = |line: &&str| {
            let line = line.get(..line.len().min(200)).unwrap_or(line);
            [" WARN ", " ERROR ", "\"WARN\"", "\"ERROR\"", "panicked at"]
                .iter()
                .any(|level| line.contains(level))
        };
        let log = self.log();
        let complaints =
            log.lines().filter(wrong).filter(|line| !expected.iter().any(|text| line.contains(text)));
        complaints.map(str::to_owned).collect()
    }

    /// Mount points below its folder, sorted.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let mut mounts = undo::mounts_below(&self.spec.folder);
        mounts.sort();
        mounts
    }

    fn log_file(&self) -> PathBuf {
        self.spec.folder.join(format!("{}.log", self.spec.name))
    }

    /// Starts it again without waiting until it is ready.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn spawn(&mut self) -> Result<()> {
        let log: File = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let child = Command::new(program()?)
            .args(["run", "--name", &self.spec.name, "--pool-size", &self.spec.pool_size])
            .arg("--state-dir")
            .arg(&self.spec.state)
            .arg("--pool")
            .arg(&self.spec.pool)
            .arg("--socket")
            .arg(self.remote().socket())
            .arg("--plugin-dir")
            .arg(&self.spec.plugins)
            // Any free port: several instances run side by side.
            .args(["--listen", "127.0.0.1:0"])
            .args(&self.spec.arguments)
            .envs(self.spec.environment.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("leister did not start")?;
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for Leister {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            undo::stop(&mut child, STOP_LIMIT);
        }
        undo::sweep(&self.spec.folder);
        // It removes this itself when it ends well. A dead one would cost the engine a wait on every listing.
        let _ = std::fs::remove_file(self.spec.plugins.join(format!("{}.sock", self.spec.name)));
    }
}
