use std::collections::BTreeSet;

use anyhow::Result;
use filer_suite::{Filer, Node, NodeSpec};
use rig::{Guest, Output, Rig};

use crate::LIMIT;

/// What a host's volumes lie on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Storage<'a> {
    Filer(&'a Filer<'a>),
    /// Names and texts of backend files.
    Backends(&'a [(String, String)]),
}

/// A Docker Engine beside an instance of Leister; both keep their state on a disk, over a loss of power.
#[derive(Debug)]
pub struct Host<'a> {
    rig: &'a Rig,
    spec: NodeSpec,
    node: Node<'a>,
}

/// The instances' records and mounts, and the engine's containers.
const DISK: &str = "mkdir -p /srv/node
    disk=/dev/ubda; [ -b $disk ] || disk=/dev/vda
    blkid $disk >/dev/null || mkfs.ext4 -q $disk
    mountpoint -q /srv/node || mount $disk /srv/node";
const ENGINE: &str = include_str!("engine.sh");
/// Says each number on the volume, then outside of the guest; and when it can do so no more.
const WRITER: &str = include_str!("writer.sh");

impl<'a> Host<'a> {
    /// Starts an instance with these words, and the engine if it is not there yet.
    ///
    /// # Errors
    /// What does not start.
    ///
    /// # Panics
    /// As [`Node::up`].
    pub(crate) fn up(
        rig: &'a Rig,
        guest: &str,
        storage: Storage<'_>,
        mut spec: NodeSpec,
        words: &str,
    ) -> Result<Self> {
        spec.arguments = format!("--state-dir /srv/node/{} --listen none {words}", spec.name);
        let node = Self::serve(rig, guest, storage, &spec)?;
        node.guest().put("/rig/writer.sh", WRITER)?;
        Ok(Self { rig, spec, node })
    }

    /// Starts what ran on a guest that has booted again.
    ///
    /// # Errors
    /// As [`Host::up`].
    ///
    /// # Panics
    /// As [`Host::up`].
    pub(crate) fn come_back(&self, storage: Storage<'_>) -> Result<()> {
        Self::serve(self.rig, self.name(), storage, &self.spec).map(drop)
    }

    fn serve(rig: &'a Rig, name: &str, storage: Storage<'_>, spec: &NodeSpec) -> Result<Node<'a>> {
        let guest = rig.guest(name);
        guest.exec_within(LIMIT, DISK).ok("a disk for what stays");
        let node = match storage {
            Storage::Filer(filer) => Node::up(rig, name, filer, spec.clone())?,
            Storage::Backends(files) => Node::over(rig, name, spec.clone(), files)?,
        };
        guest.exec_within(LIMIT, ENGINE).ok("an engine");
        Ok(node)
    }

    /// Kills the engine as `kill -9` does; containers go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_engine(&self) {
        // The file has no end of line, which `read` takes for a failure.
        let kill = "pid=$(cat /run/engine.pid) && kill -9 $pid || exit
            while kill -0 $pid 2>/dev/null; do /run/bb/sleep 0.05; done";
        self.node.exec(kill).ok("kill the engine");
    }

    /// # Panics
    /// When it does not start.
    pub fn start_engine(&self) {
        self.node.exec(ENGINE).ok("an engine");
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

    /// The driver of its volumes, as the engine knows it.
    pub fn driver(&self) -> &str {
        &self.spec.name
    }

    /// Creates a volume, with options as for `docker volume create`.
    pub fn create(&self, volume: &str, options: &str) -> Output {
        self.docker(&format!("volume create -d {} -o size=64MiB {options} {volume}", self.driver()))
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

    /// Runs a shell command in a new container that sees a volume at `/data`, and waits until it is free again.
    pub fn shell(&self, volume: &str, command: &str) -> Output {
        let words = format!("run --rm --network none -v {volume}:/data busybox sh -c '{command}'");
        self.and_free(volume, &words)
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

    /// Ends the container of the volume's name, and waits until this host has let the volume go.
    pub fn end(&self, volume: &str) -> Output {
        self.and_free(volume, &format!("rm -f {volume}"))
    }

    /// A container's end waits for its volume only for a moment; on a loaded machine it is free some time later.
    fn and_free(&self, volume: &str, words: &str) -> Output {
        let script = format!(
            "docker {words}; code=$?
            while curl -sS -m 60 --unix-socket /run/leister/{driver}.sock http://leister/v1/volumes/{volume} |
                grep -q '\"{node}\"'; do /run/bb/sleep 0.1; done
            exit $code",
            driver = self.driver(),
            node = self.name()
        );
        self.guest().exec_within(LIMIT, &script)
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

    /// Whether a writer hangs because its NFS server knows this host no more.
    ///
    /// A client whose lease has run out asks for another one for ever, and lets whoever opens a file wait for it. (When
    /// the lease is still good, each call is refused, and the writer fails.)
    pub fn waits_in_vain(&self, volume: &str) -> bool {
        let script = format!(
            "pid=$(docker inspect --format '{{{{.State.Pid}}}}' {volume}) && children=$(cat /proc/$pid/task/$pid/children) &&
            for pid in $pid $children; do cat /proc/$pid/stack; done | grep -q nfs4_wait_clnt_recover"
        );
        self.node.exec(&script).is_ok()
    }

    /// The volumes that the engine lists of Leister.
    ///
    /// # Panics
    /// When the engine does not answer.
    pub fn volumes(&self) -> BTreeSet<String> {
        let listed = self.docker(&format!("volume ls -q -f driver={}", self.driver())).ok("volume ls");
        listed.lines().map(ToOwned::to_owned).collect()
    }
}
