//! A rig that stands.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Kernel};
use crate::builder::{Builder, GuestSpec};
use crate::guest::Guest;
use crate::job::Output;
use crate::namespace::{HostProcess, Namespace};
use crate::network;
use crate::process::Process;

/// The first guest's number; this machine has [`network::HOST`].
const FIRST: u8 = 11;

const RECORD: &str = "rig.json";

/// The folder of unix sockets; no guest can have its name.
pub(crate) const SOCKETS: &str = "_sockets";

/// Guests on two networks, and all that keeps them.
pub struct Rig {
    pub(crate) guests: Vec<Guest>,
    pub(crate) world: Arc<World>,
    /// Whether it ends with this value.
    ours: bool,
}

/// What the guests of a rig share.
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) backend: Backend,
    pub(crate) kernel: Kernel,
    pub(crate) namespace: Namespace,
    /// Everybody's `/etc/hosts`.
    pub(crate) hosts: String,
    pub(crate) leister: Option<PathBuf>,
}

/// What another program needs to know of a rig.
#[derive(Serialize, Deserialize)]
struct Record {
    backend: Backend,
    keeper: Process,
    guests: Vec<GuestSpec>,
    leister: Option<PathBuf>,
}

impl Rig {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Whether guests can run on this machine, or why not. A test prints the reason after `skipped: `.
    ///
    /// # Errors
    /// The reason.
    pub fn available(backend: Backend) -> Result<(), String> {
        backend.available()
    }

    /// # Panics
    /// When there is no such guest.
    #[track_caller]
    pub fn guest(&self, name: &str) -> &Guest {
        self.find_guest(name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// # Errors
    /// When there is no such guest; the message names those that are.
    pub fn find_guest(&self, name: &str) -> Result<&Guest> {
        let names: Vec<_> = self.guests.iter().map(Guest::name).collect();
        let found = self.guests.iter().find(|guest| guest.name() == name);
        found.with_context(|| format!("there is no guest `{name}`; there are: {}", names.join(", ")))
    }

    pub fn guests(&self) -> &[Guest] {
        &self.guests
    }

    pub fn backend(&self) -> Backend {
        self.world.backend
    }

    /// Where it keeps its files on this machine.
    pub fn folder(&self) -> &Path {
        &self.world.folder
    }

    /// This machine's address on a link, inside the rig's namespace.
    pub fn address(&self, link: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, link, network::HOST)
    }

    /// Does something on a thread that is on the rig's networks, as `10.77.0.1` and `10.77.1.1`. A process that is started
    /// there is the caller's own to end; see [`Rig::spawn_in_namespace`].
    ///
    /// # Errors
    /// When the rig has ended.
    pub fn in_namespace<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.world.namespace.on_network(work)
    }

    /// Starts a program of this machine on the rig's networks. It ends with the rig, or when the value is dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_in_namespace(&self, command: &mut Command) -> Result<HostProcess> {
        self.world.namespace.spawn(command).map(HostProcess)
    }

    /// Runs a shell script of this machine on the rig's networks, to its end.
    pub fn host(&self, script: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.in_namespace(|| shell.output()).and_then(|output| output.context("`sh` did not start")) {
            Ok(output) => Output {
                // One that a signal ended has none.
                code: output.status.code().unwrap_or(Output::NOT_RUN),
                stdout: text(&output.stdout),
                stderr: text(&output.stderr),
            },
            Err(error) => Output::not_run(&error),
        }
    }

    /// The rig that another program left running in a folder. It stays when this value is dropped.
    ///
    /// # Errors
    /// When there is none.
    pub fn attach(folder: &Path) -> Result<Self> {
        let record = read(folder)?;
        let kernel = record.backend.prepare(folder)?;
        let namespace = Namespace::of(record.keeper)?;
        Ok(Self::assemble(folder.to_path_buf(), record, kernel, namespace, false))
    }

    /// Ends a rig that another program left running in a folder, also one that has ended in part.
    ///
    /// # Errors
    /// When there is none, or it does not end.
    pub fn end(folder: &Path) -> Result<()> {
        read(folder)?.keeper.kill().context("cannot end the rig")?;
        remove(folder)
    }

    /// Ends every guest and removes the rig's files.
    ///
    /// # Errors
    /// When something does not end.
    pub fn down(mut self) -> Result<()> {
        self.ours = false;
        self.bring_down()
    }
}

impl Rig {
    pub(crate) fn up(wish: Builder) -> Result<Self> {
        let folder = match &wish.folder {
            Some(folder) => {
                let exists = || format!("a rig stands in {}; end it first (`rig down`)", folder.display());
                fs::create_dir(folder).with_context(exists)?;
                folder.clone()
            }
            None => tempfile::Builder::new().prefix("rig-").tempdir().context("cannot make a folder")?.keep(),
        };
        let detached = wish.folder.is_some();
        let rig = Self::build(folder.clone(), wish, detached).inspect_err(|_| {
            // The error that led here says more than one of tidying up.
            let _ = fs::remove_dir_all(&folder);
        })?;
        let booted = rig.boot();
        if booted.is_err() {
            let _ = rig.bring_down();
        }
        booted.map(|()| rig)
    }

    fn build(folder: PathBuf, wish: Builder, detached: bool) -> Result<Self> {
        let blank = folder.to_string_lossy().contains([' ', ',', '\n']);
        ensure!(!blank, "{}: set TMPDIR to a path without blanks and commas", folder.display());
        for guest in &wish.guests {
            let share = folder.join(&guest.name).join("rig");
            fs::create_dir_all(&share).with_context(|| format!("cannot make {}", share.display()))?;
        }
        fs::create_dir_all(folder.join(SOCKETS)).context("cannot make a folder for sockets")?;
        let kernel = wish.backend.prepare(&folder)?;
        let namespace = Namespace::new(&folder, detached)?;
        let Builder { guests, backend, leister, .. } = wish;
        let record = Record { backend, keeper: namespace.keeper, guests, leister };
        let text = serde_json::to_string_pretty(&record)?;
        fs::write(folder.join(RECORD), text).context("cannot write the rig's record")?;
        let rig = Self::assemble(folder, record, kernel, namespace, !detached);
        network::make(&rig.world.namespace, rig.guests.iter().map(|guest| guest.number))
            .context("cannot make the rig's networks")?;
        Ok(rig)
    }

    fn assemble(folder: PathBuf, record: Record, kernel: Kernel, namespace: Namespace, ours: bool) -> Self {
        let Record { backend, guests, leister, .. } = record;
        let hosts = hosts(&guests);
        let world = Arc::new(World { folder, backend, kernel, namespace, hosts, leister });
        let guests =
            (FIRST..).zip(guests).map(|(number, spec)| Guest::new(number, spec, world.clone())).collect();
        Self { guests, world, ours }
    }

    fn boot(&self) -> Result<()> {
        self.guests.iter().try_for_each(Guest::boot)?;
        self.guests.iter().try_for_each(|guest| guest.wait_ready(Guest::boot_limit()))
    }

    fn bring_down(&self) -> Result<()> {
        let killed: Vec<_> = self.guests.iter().map(Guest::kill).collect();
        self.world.namespace.end()?;
        killed.into_iter().collect::<Result<Vec<_>>>()?;
        remove(&self.world.folder)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        if std::thread::panicking() {
            crate::evidence::keep_and_tell(self);
        }
        if let Err(error) = self.bring_down() {
            crate::evidence::tell(&format!("a rig is left in part: {error:#}"));
        }
    }
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rig {}", self.world.folder.display())
    }
}

/// Each guest's name is its address on link 0; `NAME-1` is that on link 1.
fn hosts(guests: &[GuestSpec]) -> String {
    let mut lines = vec!["127.0.0.1 localhost".to_owned(), "::1 localhost".to_owned()];
    let everybody = [("host", network::HOST)].into_iter();
    for (name, number) in everybody.chain(guests.iter().map(|guest| guest.name.as_str()).zip(FIRST..)) {
        lines.push(format!("{} {name} {name}-0", network::address(0, number)));
        lines.push(format!("{} {name}-1", network::address(1, number)));
    }
    lines.join("\n") + "\n"
}

fn read(folder: &Path) -> Result<Record> {
    let path = folder.join(RECORD);
    let text = fs::read(&path)
        .with_context(|| format!("no rig is up in {}; use `rig up` first", folder.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// The keeper may have removed it.
fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
