use std::collections::BTreeSet;

use anyhow::Result;
use filer_suite::{Filer, Node, NodeSpec};
use rig::{Guest, Output, Rig};

use crate::LIMIT;

/// A Docker Engine beside an instance of Leister; both keep their state on a disk, over a loss of power.
#[derive(Debug)]
pub struct Host<'a> {
    rig: &'a Rig,
    tenant: String,
    node: Node<'a>,
}

/// The instance's records and mounts, and the engine's containers.
const DISK: &str = "mkdir -p /srv/node
    blkid /dev/ubda >/dev/null || mkfs.ext4 -q /dev/ubda
    mountpoint -q /srv/node || mount /dev/ubda /srv/node";
const ENGINE: &str = include_str!("engine.sh");
/// Says each number on the volume, then outside of the guest; and when it can do so no more.
const WRITER: &str = include_str!("writer.sh");

impl<'a> Host<'a> {
    /// Starts instance and engine of a guest that has booted for the first time.
    ///
    /// # Errors
    /// What does not start.
    ///
    /// # Panics
    /// As [`Node::up`].
    pub(crate) fn up(rig: &'a Rig, name: &str, filer: &Filer<'_>, tenant: &str) -> Result<Self> {
        let guest = rig.guest(name);
        let node = Self::serve(rig, name, filer, tenant)?;
        guest.put("/rig/writer.sh", WRITER)?;
        Ok(Self { rig, tenant: tenant.to_owned(), node })
    }

    /// Boots the guest again, and starts what ran on it.
    ///
    /// # Errors
    /// As [`Host::up`].
    ///
    /// # Panics
    /// As [`Host::up`].
    pub fn start(&self, filer: &Filer<'_>) -> Result<()> {
        self.guest().start()?;
        Self::serve(self.rig, self.name(), filer, &self.tenant).map(drop)
    }

    fn serve(rig: &'a Rig, name: &str, filer: &Filer<'_>, tenant: &str) -> Result<Node<'a>> {
        let guest = rig.guest(name);
        guest.exec_within(LIMIT, DISK).ok("a disk for what stays");
        let mut spec = NodeSpec::new(tenant);
        spec.arguments =
            "--state-dir /srv/node/leister --listen none --shared-backends --instance-id site".into();
        let node = Node::up(rig, name, filer, spec)?;
        guest.exec_within(LIMIT, ENGINE).ok("an engine");
        Ok(node)
    }

    pub fn guest(&self) -> &'a Guest {
        self.node.guest()
    }

    pub fn name(&self) -> &'a str {
        self.guest().name()
    }

    /// The instance of Leister.
    pub fn node(&self) -> &Node<'a> {
        &self.node
    }

    pub fn docker(&self, words: &str) -> Output {
        self.guest().exec_within(LIMIT, &format!("docker {words}"))
    }

    /// Runs `leister` with these words, as a user of this host does.
    ///
    /// # Panics
    /// When the program is not there.
    #[track_caller]
    pub fn leister(&self, words: &str) -> Output {
        self.node.cli(words).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Runs a shell command in a new container that sees a volume at `/data`.
    pub fn shell(&self, volume: &str, command: &str) -> Output {
        self.docker(&format!("run --rm --network none -v {volume}:/data busybox sh -c '{command}'"))
    }

    /// Starts a container of the volume's name that does nothing, for [`Host::within`].
    pub fn hold(&self, volume: &str) -> Output {
        self.background(volume, "sleep 100000")
    }

    /// Starts a container of the volume's name that writes numbers, each flushed before it is acknowledged.
    pub fn write(&self, volume: &str) -> Output {
        let forgotten = self.node.exec(&format!("rm -f /rig/{volume}.*"));
        if !forgotten.is_ok() {
            return forgotten;
        }
        self.background(volume, &format!("sh /rig/writer.sh {volume}"))
    }

    fn background(&self, volume: &str, command: &str) -> Output {
        let words = format!("-d --network none --name {volume} -v {volume}:/data -v /rig:/rig");
        self.docker(&format!("run {words} busybox {command}"))
    }

    /// Runs a shell command in the container of the volume's name.
    pub fn within(&self, volume: &str, command: &str) -> Output {
        self.docker(&format!("exec {volume} sh -c '{command}'"))
    }

    /// Ends the container of the volume's name.
    pub fn end(&self, volume: &str) -> Output {
        self.docker(&format!("rm -f {volume}"))
    }

    /// The last number that a writer has acknowledged.
    pub fn acknowledged(&self, volume: &str) -> u64 {
        let said = std::fs::read_to_string(self.guest().share().join(format!("{volume}.acked")));
        said.ok().and_then(|said| said.trim().parse().ok()).unwrap_or_default()
    }

    /// What a writer said that could write no more.
    pub fn failed(&self, volume: &str) -> bool {
        self.guest().share().join(format!("{volume}.failed")).exists()
    }

    /// The volumes that the engine lists of Leister.
    ///
    /// # Panics
    /// When the engine does not answer.
    pub fn volumes(&self) -> BTreeSet<String> {
        let listed = self.docker("volume ls -q -f driver=leister").ok("volume ls");
        listed.lines().map(ToOwned::to_owned).collect()
    }
}
