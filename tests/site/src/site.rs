use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use filer_suite::{Filer, FilerSpec};
use rig::{Backend, Rig, Size};

use crate::host::Host;

/// A storage and two hosts.
#[derive(Debug)]
pub struct Site {
    pub filer: Filer<'static>,
    pub hosts: [Host<'static>; 2],
}

const TENANT: &str = "site";
const NODES: [&str; 2] = ["node1", "node2"];

impl Site {
    /// Why it cannot stand on this machine, if it cannot.
    pub fn lacking() -> Option<String> {
        let programs = ["dockerd", "docker", "mkfs.btrfs", "mkfs.ext4", "iscsid", "multipathd", "exportfs"];
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
        let rig = Rig::builder()
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
        let [first, second] = std::thread::scope(|scope| {
            let starting = NODES.map(|name| {
                let filer = &filer;
                scope.spawn(move || Host::up(rig, name, filer, TENANT))
            });
            starting.map(|host| host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        Ok(Self { hosts: [first?, second?], filer })
    }

    /// The volumes that lie in the pool, whoever knows of them.
    ///
    /// # Panics
    /// When the storage is down.
    pub fn volumes(&self) -> BTreeSet<String> {
        let listed = self.filer.exec(&format!("ls {}/volumes", self.filer.pool())).ok("the pool");
        let prefix = format!("{TENANT}.leister_");
        listed.lines().map(|name| name.strip_prefix(&prefix).unwrap_or(name).to_owned()).collect()
    }
}
