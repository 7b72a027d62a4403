//! One guest: its life, its cables, its files.

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use crate::builder::GuestSpec;
use crate::job::{Job, Output};
use crate::network;
use crate::process::Process;
use crate::rig::{SOCKETS, World};
use crate::wait;

/// Stage two of every guest: the machine on top of its root.
const INIT: &str = include_str!("guest/init.sh");

/// How long a command may take unless told otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a condition inside a guest.
const PAUSE: Duration = Duration::from_millis(50);

/// A loaded machine of two slow cores boots a guest in half a minute.
const BOOT: Duration = Duration::from_secs(240);

/// A small Linux machine.
pub struct Guest {
    pub(crate) number: u8,
    pub(crate) spec: GuestSpec,
    pub(crate) world: std::sync::Arc<World>,
    /// Ours to ask for its verdict, if this process started it.
    child: Mutex<Option<Child>>,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "guest {} in {}", self.spec.name, self.folder().display())
    }
}

/// Commands and files.
impl Guest {
    /// Runs a bash script, as root, for at most a minute.
    pub fn exec(&self, script: &str) -> Output {
        self.exec_within(LIMIT, script)
    }

    /// Runs a bash script and kills it at the limit.
    pub fn exec_within(&self, limit: Duration, script: &str) -> Output {
        Job::start(self, script).map_or_else(|error| Output::not_run(&error), |job| job.wait(limit))
    }

    /// Starts a bash script.
    ///
    /// # Errors
    /// When the guest is down.
    pub fn spawn(&self, script: &str) -> Result<Job> {
        Job::start(self, script)
    }

    /// Runs a script again and again until it succeeds. At the limit its last output is returned, a failure.
    pub fn wait_for(&self, condition: &str, limit: Duration) -> Output {
        let started = Instant::now();
        let mut last = Output::not_run(&anyhow::anyhow!("no time to look"));
        let seen = wait::paced(limit, PAUSE, || {
            let left = limit.saturating_sub(started.elapsed()).max(Duration::from_millis(100));
            last = Job::start(self, condition)
                .map_or_else(|error| Output::not_run(&error), |job| job.try_once(left));
            last.is_ok().then(|| last.clone())
        });
        seen.unwrap_or(last)
    }

    /// Writes a file. Its folder is made; a path below `/rig` is the folder shared with this machine.
    ///
    /// # Errors
    /// When the guest is down or cannot write there.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let (name, passage) = self.passage();
        fs::write(&passage, bytes).with_context(|| format!("cannot write {}", passage.display()))?;
        let to = quoted(path);
        let moved =
            self.exec(&format!("mkdir -p \"$(dirname {to})\" && cp /rig/{name} {to} && rm /rig/{name}"));
        ensure!(moved.is_ok(), "cannot write {path} in {}: {}", self.spec.name, moved.stderr.trim());
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When the guest is down or has no such file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let (name, passage) = self.passage();
        let copied = self.exec(&format!("cp {} /rig/{name} && busybox sync /rig/{name}", quoted(path)));
        ensure!(copied.is_ok(), "cannot read {path} in {}: {}", self.spec.name, copied.stderr.trim());
        let bytes = fs::read(&passage).with_context(|| format!("cannot read {}", passage.display()));
        // It has served.
        let _ = fs::remove_file(&passage);
        bytes
    }
}

/// Cables: each guest is on link 0 and link 1.
impl Guest {
    pub fn address(&self, link: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, link, self.number)
    }

    pub fn address6(&self, link: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, link.into(), 0, 0, 0, 0, 0, self.number.into())
    }

    /// Lets nothing pass on a link, which the guest cannot tell from its carrier. Lasts over a [`Guest::start`].
    ///
    /// # Errors
    /// When there is no such link, or the rig has ended.
    pub fn cut(&self, link: u8) -> Result<()> {
        network::cut(&self.world.namespace, link, self.number)
    }

    /// Undoes [`Guest::cut`].
    ///
    /// # Errors
    /// As of [`Guest::cut`].
    pub fn join(&self, link: u8) -> Result<()> {
        network::join(&self.world.namespace, link, self.number)
    }

    /// Takes the carrier off a link (tcg only). A [`Guest::start`] plugs all in.
    ///
    /// # Errors
    /// When the backend cannot do it, when there is no such link, and when the guest is down.
    pub fn unplug(&self, link: u8) -> Result<()> {
        self.set_carrier(link, false)
    }

    /// Undoes [`Guest::unplug`].
    ///
    /// # Errors
    /// As of [`Guest::unplug`].
    pub fn plug(&self, link: u8) -> Result<()> {
        self.set_carrier(link, true)
    }

    fn set_carrier(&self, link: u8, up: bool) -> Result<()> {
        network::ensure_link(link)?;
        self.running()?;
        self.world.backend.set_carrier(self, link, up)
    }
}

/// Life and death.
impl Guest {
    /// Kills it as a power failure would: what it had not flushed to its disks is lost.
    ///
    /// # Errors
    /// When it cannot be killed. One that is down already is no error.
    pub fn kill(&self) -> Result<()> {
        if let Some(process) = self.process() {
            process.kill()?;
        }
        self.reap();
        Ok(())
    }

    /// Boots it again, with the same disks, and waits until it takes commands.
    ///
    /// # Errors
    /// When it runs, or does not come up.
    pub fn start(&self) -> Result<()> {
        self.boot()?;
        self.wait_ready(BOOT)
    }

    /// Freezes it.
    ///
    /// # Errors
    /// When it is down.
    pub fn stop(&self) -> Result<()> {
        let process = self.running()?;
        // A user-mode Linux leads its processes by tracing them; it takes a stop of theirs for an event of its own.
        process.signal(Signal::STOP).with_context(|| format!("cannot stop {}", self.spec.name))?;
        wait::until(LIMIT, || process.stopped().then_some(()))
            .with_context(|| format!("{} does not stop", self.spec.name))
    }

    /// Lets it go on after [`Guest::stop`].
    ///
    /// # Errors
    /// When it is down.
    pub fn cont(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT).with_context(|| format!("cannot let {} go on", self.spec.name))
    }

    pub fn is_up(&self) -> bool {
        self.process().is_some()
    }

    pub fn is_stopped(&self) -> bool {
        self.process().is_some_and(Process::stopped)
    }
}

/// Where things are on this machine.
impl Guest {
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn memory(&self) -> crate::Size {
        self.spec.memory
    }

    pub fn disks(&self) -> &[crate::Size] {
        &self.spec.disks
    }

    /// The files behind its disks, on this machine.
    pub fn disk_images(&self) -> Vec<PathBuf> {
        (0..self.spec.disks.len()).map(|at| self.folder().join(format!("disk{at}.img"))).collect()
    }

    /// The guest's `/rig`, as this machine sees it.
    pub fn share(&self) -> PathBuf {
        self.folder().join("rig")
    }

    /// What the guest's kernel and first process said.
    pub fn console(&self) -> PathBuf {
        self.folder().join("console")
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.world.folder.join(&self.spec.name)
    }

    /// Where unix sockets are, whose paths must be short whatever the guest is named.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.world.folder.join(SOCKETS)
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.folder().join("ctl.in")
    }

    fn passage(&self) -> (String, PathBuf) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("file-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = self.share().join(&name);
        (name, path)
    }
}

impl Guest {
    pub(crate) fn new(number: u8, spec: GuestSpec, world: std::sync::Arc<World>) -> Self {
        Self { number, spec, world, child: Mutex::new(None) }
    }

    /// Its process, or what to do about there being none.
    pub(crate) fn running(&self) -> Result<Process> {
        let name = &self.spec.name;
        self.process().with_context(|| format!("guest {name} is down; start it first"))
    }

    fn process(&self) -> Option<Process> {
        let record = fs::read(self.folder().join("process.json")).ok()?;
        serde_json::from_slice::<Process>(&record).ok().filter(|process| process.alive())
    }

    /// Starts its machine, and waits for nothing.
    pub(crate) fn boot(&self) -> Result<()> {
        let (name, folder) = (&self.spec.name, self.folder());
        ensure!(!self.is_up(), "guest {name} runs already; kill it first");
        self.reap();
        write(&self.share().join("init"), INIT)?;
        write(&self.share().join("env"), &self.environment())?;
        // Of its last life, if it had one.
        let _ = fs::remove_file(self.share().join("ready"));
        for (image, size) in self.disk_images().iter().zip(&self.spec.disks) {
            if !image.exists() {
                let made = File::create(image).and_then(|file| file.set_len(size.bytes()));
                made.with_context(|| format!("cannot make {}", image.display()))?;
            }
        }
        crate::namespace::make_fifo(&self.control())?;
        let console = File::options()
            .create(true)
            .append(true)
            .open(self.console())
            .context("cannot write the console")?;
        let mut command = self.world.backend.command(self)?;
        command.process_group(0);
        command.stdout(console.try_clone().context("cannot share the console")?).stderr(console);
        let child = self.world.namespace.spawn(&mut command)?;
        let process = Process::of(child.id());
        if let Ok(mut ours) = self.child.lock() {
            *ours = Some(child);
        }
        let record = serde_json::to_string(
            &process.with_context(|| format!("guest {name} ended at once: {}", self.last_words()))?,
        )?;
        write(&folder.join("process.json"), &record)
    }

    pub(crate) fn wait_ready(&self, limit: Duration) -> Result<()> {
        let ready = self.share().join("ready");
        let seen = wait::until(limit, || (ready.exists() || !self.is_up()).then_some(()));
        if seen.is_some() && ready.exists() {
            return Ok(());
        }
        let how = if seen.is_some() {
            "ended".into()
        } else {
            format!("was not ready after {} s", limit.as_secs())
        };
        bail!("guest {} {how}; the end of its console:\n{}", self.spec.name, self.last_words())
    }

    pub(crate) fn boot_limit() -> Duration {
        BOOT
    }

    fn last_words(&self) -> String {
        let console = fs::read(self.console()).unwrap_or_default();
        String::from_utf8_lossy(&console[console.len().saturating_sub(2000)..]).into_owned()
    }

    /// What the guest's init reads.
    fn environment(&self) -> String {
        let modules = &self.world.kernel.modules;
        let values = [
            ("NAME", self.spec.name.clone()),
            ("NUMBER", self.number.to_string()),
            ("BACKEND", self.world.backend.to_string()),
            ("MODULES", modules.display().to_string()),
            ("HOSTS", self.world.hosts.clone()),
        ];
        values.iter().map(|(key, value)| format!("export RIG_{key}={}\n", quoted(value))).collect()
    }

    /// Asks for the verdict of a machine that has ended; its namespace could not end otherwise.
    fn reap(&self) {
        if let Some(mut child) = self.child.lock().ok().and_then(|mut child| child.take()) {
            let _ = child.wait();
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// One word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
