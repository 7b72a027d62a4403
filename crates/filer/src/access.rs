//! Makes this machine's kernel serve volumes: NFS exports, iSCSI units, NVMe namespaces. Nothing else.
//!
//! # Behavior
//! What shall be goes in, and the kernel is made equal, through configfs, `exportfs` and `/proc`. Every call is
//! idempotent; one that died half way is repeated. What is as it should be is not touched, so sessions outlive the
//! process. What others made, in the kernel or in `/etc/exports`, is neither changed nor shown.
//!
//! After a start of the machine: [`Access::open`], then [`Access::serve`] every volume, then [`Access::answer`]. A client
//! that came back earlier would be told that its volume does not exist.

pub mod configfs;
mod iscsi;
mod ledger;
pub mod machine;
mod nfs;
mod nvme;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Bytes, Handle, NodeName, Permit, Route};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::{FilerError, Outcome};
use iscsi::Iscsi;
pub use iscsi::{Backstore, Offer};
use ledger::{Entry, Ledger};
use nfs::Nfs;
pub use nfs::{Bound, NfsServer};
use nvme::Nvme;
pub use nvme::{flush_each_write, nvme_door};
pub use settings::{IscsiSettings, NfsSettings, NvmeSettings, Settings};

/// By which wire a volume is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    Nfs,
    Iscsi,
    Nvme,
}

/// Where a volume's bytes are on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// Of files; for NFS.
    Directory(PathBuf),
    /// A file that holds a block device's content.
    Image(PathBuf),
    Device(PathBuf),
}

/// A volume that shall be served, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    pub handle: Handle,
    pub protocol: Protocol,
    pub content: Content,
    pub size: Bytes,
    /// All of them: who is not among them is fenced.
    pub permits: Vec<Permit>,
}

/// How a permitted node reaches the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    pub node: NodeName,
    pub route: Route,
}

/// Whom the kernel lets in, as the kernel knows them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Client {
    Address(IpAddr),
    /// An iSCSI initiator's name.
    Initiator(String),
    /// An NVMe host's name.
    Host(String),
}

/// The kernel's servers on this machine.
#[derive(Debug)]
pub struct Access {
    /// Held while something is changed: numbers and ports are chosen by what is there.
    ledger: Mutex<Ledger>,
    nfs: Option<Nfs>,
    iscsi: Option<Iscsi>,
    nvme: Option<Nvme>,
}

impl Access {
    /// Checks what this machine has, and prepares it. Nothing is served to anybody new before [`Access::answer`].
    ///
    /// # Errors
    /// `Invalid` for a setting that makes no sense; `Unsupported` for a kernel module or a tool that is missing, with
    /// the Debian package that has it.
    pub fn open(settings: &Settings) -> Result<Access> {
        settings.check()?;
        let ledger = Ledger::open(&settings.state)?;
        let portals = &settings.portals;
        let nfs = settings.nfs.as_ref().map(|wish| Nfs::open(wish, portals)).transpose()?;
        let iscsi = settings.iscsi.as_ref().map(|wish| Iscsi::open(wish, portals)).transpose()?;
        let nvme = settings.nvme.as_ref().map(|wish| Nvme::open(wish, portals)).transpose()?;
        Ok(Access { ledger: Mutex::new(ledger), nfs, iscsi, nvme })
    }

    /// Makes anew what no volume needs alone and is not there any more: a service that died, the target, a portal.
    ///
    /// # Errors
    /// What the kernel says, with the file it said it about.
    pub fn prepare(&self) -> Result<()> {
        let _turn = self.ledger();
        self.nfs.as_ref().map_or(Ok(()), Nfs::prepare)?;
        self.iscsi.as_ref().map_or(Ok(()), Iscsi::prepare)?;
        self.nvme.as_ref().map_or(Ok(()), Nvme::prepare)
    }

    /// Lets clients in, where they are not let in yet.
    ///
    /// # Errors
    /// What the kernel says, with the file it said it about.
    pub fn answer(&self) -> Result<()> {
        let _turn = self.ledger();
        self.nfs.as_ref().map_or(Ok(()), Nfs::answer)?;
        self.iscsi.as_ref().map_or(Ok(()), Iscsi::answer)?;
        self.nvme.as_ref().map_or(Ok(()), Nvme::answer)
    }

    /// Makes the kernel serve the volume to exactly those who are permitted.
    ///
    /// # Behavior
    /// Who was permitted and is no more is fenced first: when this returns, it cannot read or write any more, also not
    /// with what it has open. One route a permit, in their order. Without a permit the content is let go, and may be
    /// replaced (a restore does that) before it is served again under the same serial and number.
    ///
    /// # Errors
    /// `Invalid` when a node lacks what this protocol knows it by, or the content does not fit the protocol;
    /// `Unsupported` for a protocol that is not set up. Nothing has changed then.
    pub fn serve(&self, served: &Served) -> Result<Outcome<Vec<Granted>>> {
        let mut ledger = self.ledger();
        served.check()?;
        match served.protocol {
            Protocol::Nfs => {
                let nfs = self.nfs()?;
                nfs.check(served)?;
                let entry = ledger.enter(&served.handle, Protocol::Nfs, &BTreeSet::new())?;
                nfs.serve(served, &entry)
            }
            Protocol::Iscsi => {
                let iscsi = self.iscsi()?;
                iscsi.check(served)?;
                let entry = ledger.enter(&served.handle, Protocol::Iscsi, &iscsi.numbers()?)?;
                iscsi.serve(served, &entry)
            }
            Protocol::Nvme => {
                let nvme = self.nvme()?;
                nvme.check(served)?;
                let entry = ledger.enter(&served.handle, Protocol::Nvme, &BTreeSet::new())?;
                nvme.serve(served, &entry)
            }
        }
    }

    /// Serves the volume to nobody any more, fences who had it, lets go of its content, and forgets its serial and
    /// number: a volume of that name is another one from now on. To be called before a volume is deleted.
    ///
    /// # Errors
    /// What the kernel says, with the file it said it about.
    pub fn withdraw(&self, handle: &Handle) -> Result<Outcome<()>> {
        let mut ledger = self.ledger();
        let Some(entry) = ledger.find(handle) else { return Ok(Outcome::Unchanged(())) };
        match entry.protocol {
            Protocol::Nfs => self.nfs()?.withdraw(handle)?,
            Protocol::Iscsi => self.iscsi()?.withdraw(&entry)?,
            Protocol::Nvme => self.nvme()?.withdraw(&entry)?,
        }
        ledger.forget(handle)?;
        Ok(Outcome::Changed(()))
    }

    /// Whom the kernel lets in now, whoever arranged it.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    pub fn permitted(&self, handle: &Handle) -> Result<BTreeSet<Client>> {
        let ledger = self.ledger();
        ledger.find(handle).map_or(Ok(BTreeSet::new()), |entry| self.clients(handle, &entry))
    }

    /// Every volume that was served and not withdrawn, and whom the kernel lets in now.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    pub fn list(&self) -> Result<BTreeMap<Handle, BTreeSet<Client>>> {
        let ledger = self.ledger();
        let all = ledger.entries().iter();
        all.map(|(handle, entry)| Ok((handle.clone(), self.clients(handle, entry)?))).collect()
    }

    /// The content has grown: clients see the new size when they look again.
    ///
    /// # Errors
    /// `NotFound` for a volume that is not served; else what the kernel says.
    pub fn grown(&self, handle: &Handle, size: Bytes) -> Result<()> {
        let ledger = self.ledger();
        let Some(entry) = ledger.find(handle) else {
            return Err(FilerError::NotFound(format!("volume `{handle}` is not served: serve it first")));
        };
        match entry.protocol {
            Protocol::Nfs => Ok(()),
            Protocol::Iscsi => self.iscsi()?.grown(&entry, size),
            Protocol::Nvme => self.nvme()?.grown(&entry),
        }
    }

    fn clients(&self, handle: &Handle, entry: &Entry) -> Result<BTreeSet<Client>> {
        match entry.protocol {
            Protocol::Nfs => self.nfs()?.clients(handle),
            Protocol::Iscsi => self.iscsi()?.clients(entry),
            Protocol::Nvme => self.nvme()?.clients(entry),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nfs(&self) -> Result<&Nfs> {
        self.nfs.as_ref().ok_or_else(|| absent("NFS", "nfs"))
    }

    fn iscsi(&self) -> Result<&Iscsi> {
        self.iscsi.as_ref().ok_or_else(|| absent("iSCSI", "iscsi"))
    }

    fn nvme(&self) -> Result<&Nvme> {
        self.nvme.as_ref().ok_or_else(|| absent("NVMe", "nvme"))
    }
}

impl Served {
    fn check(&self) -> Result<()> {
        match (&self.content, self.protocol) {
            (Content::Directory(_), Protocol::Nfs) => Ok(()),
            (Content::Image(_) | Content::Device(_), Protocol::Iscsi | Protocol::Nvme) => Ok(()),
            (content, protocol) => Err(FilerError::Invalid(format!(
                "volume `{}`: {content:?} cannot be served by {protocol:?}; NFS serves directories, iSCSI and NVMe \
                 serve images and devices",
                self.handle
            ))),
        }
    }

    fn path(&self) -> &PathBuf {
        match &self.content {
            Content::Directory(path) | Content::Image(path) | Content::Device(path) => path,
        }
    }
}

fn other_content(served: &Served) -> FilerError {
    FilerError::Conflict(format!(
        "volume `{}` is being served with other content than {}: serve it to nobody first",
        served.handle,
        served.path().display()
    ))
}

fn absent(name: &str, key: &str) -> FilerError {
    FilerError::Unsupported(format!("this filer does not serve {name}: set `{key}` in its settings"))
}

/// For tests of deaths: the process dies at the `steps`th change of the kernel from now on.
#[doc(hidden)]
pub fn die_after(steps: u32) {
    configfs::die_after(steps);
}

/// `address:port`, IPv6 in brackets.
fn portal(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
