use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::Result;
use filer_suite::{Filer, FilerSpec, NodeSpec};
use rig::{Backend, Guest, Rig, Size};

use crate::host::{Host, Storage};
use crate::members::Members;

/// A storage and two hosts.
#[derive(Debug)]
pub struct Site {
    rig: &'static Rig,
    pub filer: Filer<'static>,
    /// They share the storage, and nothing else.
    pub hosts: [Host<'static>; 2],
    records: OnceLock<Records>,
}

/// The same machines once more, with instances whose records are in one etcd.
#[derive(Debug)]
pub struct Records {
    pub members: Members,
    pub hosts: [Host<'static>; 2],
}

pub(crate) const NODES: [&str; 2] = ["node1", "node2"];

impl Site {
    /// Why it cannot stand on this machine, if it cannot.
    pub fn lacking() -> Option<String> {
        let programs =
            ["dockerd", "docker", "mkfs.btrfs", "mkfs.ext4", "iscsid", "multipathd", "exportfs", "etcd"];
        let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/usr/local/bin"];
        let is_missing = |name: &&str| !folders.iter().any(|folder| Path::new(folder).join(name).exists());
        match programs.into_iter().find(is_missing) {
            Some(missing) => Some(format!("{missing} is not installed")),
            None => Rig::available(Backend::Uml).err(),
        }
    }

    /// # Errors
    /// When a guest does not come up.
    pub fn boot() -> Result<Rig> {
        Self::boot_on(Backend::Uml)
    }

    /// # Errors
    /// When a guest does not come up.
    pub(crate) fn boot_on(backend: Backend) -> Result<Rig> {
        let rig = Rig::builder()
            .backend(backend)
            .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(4)).disk(Size::mib(128)));
        let host = |rig: rig::Builder, name| rig.guest(name, |g| g.memory(Size::mib(640)).disk(Size::gib(2)));
        NODES.into_iter().fold(rig, host).up()
    }

    /// Starts all that runs on a rig.
    ///
    /// # Errors
    /// What does not start.
    pub fn up(rig: &'static Rig) -> Result<Self> {
        let filer = Filer::up(rig, "storage", FilerSpec::default())?;
        let hosts = hosts(rig, Storage::Filer(&filer), "leister", |_| {
            "--shared-backends --instance-id site".to_owned()
        })?;
        Ok(Self { rig, filer, hosts, records: OnceLock::new() })
    }

    /// Started when it is first asked for.
    ///
    /// # Panics
    /// When it does not start.
    pub fn records(&self) -> &Records {
        self.records.get_or_init(|| {
            let started = Members::up(self.rig).and_then(|members| {
                let words = |node| {
                    format!("--instance-id records --store etcd --etcd-endpoints {}", members.endpoints(node))
                };
                let hosts = hosts(self.rig, Storage::Filer(&self.filer), "records", words)?;
                Ok(Records { members, hosts })
            });
            started.unwrap_or_else(|error| panic!("{error:#}"))
        })
    }

    /// Boots a guest again, and starts what ran on it.
    ///
    /// # Errors
    /// What does not start.
    pub fn start(&self, guest: &Guest) -> Result<()> {
        guest.start()?;
        let all = self.hosts.iter().chain(self.records.get().into_iter().flat_map(|records| &records.hosts));
        all.filter(|host| host.name() == guest.name())
            .try_for_each(|host| host.come_back(Storage::Filer(&self.filer)))
    }

    /// The volumes of an instance that lie in the pool, whoever knows of them.
    ///
    /// # Panics
    /// When the storage is down.
    pub fn volumes(&self, host: &Host<'_>) -> BTreeSet<String> {
        let listed = self.filer.exec(&format!("ls {}/volumes", self.filer.pool())).ok("the pool");
        let prefix = format!("{}.leister_", host.driver());
        listed.lines().filter_map(|name| name.strip_prefix(&prefix)).map(ToOwned::to_owned).collect()
    }
}

/// Starts instances of one name on both nodes; it is also their tenant's.
pub(crate) fn hosts(
    rig: &'static Rig,
    storage: Storage<'_>,
    name: &str,
    words: impl Fn(usize) -> String,
) -> Result<[Host<'static>; 2]> {
    let [first, second] = std::thread::scope(|scope| {
        let starting = [0, 1].map(|n| {
            let (spec, words) = (NodeSpec { name: name.to_owned(), ..NodeSpec::new(name) }, words(n));
            scope.spawn(move || Host::up(rig, NODES[n], storage, spec, &words))
        });
        starting.map(|host| host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok([first?, second?])
}
