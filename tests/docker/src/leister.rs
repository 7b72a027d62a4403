//! The real `leister`: started, killed, started again, spoken to as a user does.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::said::{Said, run};
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
        let socket = self.socket();
        let mut child = self.child.take().context("it is not running")?;
        let seen = until("leister to be ready", READY_LIMIT, || {
            if get(&socket, "/readyz").is_ok_and(|status| status == 200) {
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
        get(&self.socket(), "/readyz").is_ok_and(|status| status == 200)
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

    /// Runs `leister` with these words against this instance.
    ///
    /// # Errors
    /// When it does not start or hangs; not when it fails.
    pub fn cli(&self, words: &[&str]) -> Result<Said> {
        let server = format!("unix://{}", self.socket().display());
        run(Command::new(program()?).arg("--server").arg(server).args(words))
    }

    /// Writes a file and runs `leister create <kind> -f` with it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn create_from(&self, kind: &str, text: &str) -> Result<()> {
        let file = self.spec.folder.join(format!("{kind}.yaml"));
        std::fs::write(&file, text)?;
        self.cli(&["create", kind, "-f", &file.display().to_string()])?.ok().map(drop)
    }

    /// What `leister get <kind> -o json` lists.
    ///
    /// # Errors
    /// When it is refused, or writes no list.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let text = self.cli(&["get", kind, "-o", "json"])?.ok()?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
        match value {
            Value::Array(items) => Ok(items),
            Value::Object(mut page) => match page.remove("items") {
                Some(Value::Array(items)) => Ok(items),
                _ => bail!("no list of {kind}: {text}"),
            },
            _ => bail!("no list of {kind}: {text}"),
        }
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

    fn socket(&self) -> PathBuf {
        self.spec.folder.join("api.sock")
    }

    fn log_file(&self) -> PathBuf {
        self.spec.folder.join(format!("{}.log", self.spec.name))
    }

    fn spawn(&mut self) -> Result<()> {
        let log: File = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let child = Command::new(program()?)
            .args(["run", "--name", &self.spec.name, "--pool-size", &self.spec.pool_size])
            .arg("--state-dir")
            .arg(&self.spec.state)
            .arg("--pool")
            .arg(&self.spec.pool)
            .arg("--socket")
            .arg(self.socket())
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

/// The program under test: what `LEISTER_BIN` names, or what this workspace builds, built now if it is missing.
fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("LEISTER_BIN") {
        return Ok(program.into());
    }
    let here = std::env::current_exe()?;
    let folder = here.ancestors().find(|folder| folder.join("deps").is_dir()).context("no build folder")?;
    let program = folder.join("leister");
    if !program.exists() {
        run(Command::new("cargo").args(["build", "--package", "leister"]))?.ok()?;
    }
    Ok(program)
}

/// The status of a GET over the API's socket.
fn get(socket: &Path, path: &str) -> Result<u16> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: leister\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("no HTTP answer")?;
    Ok(status.parse()?)
}
