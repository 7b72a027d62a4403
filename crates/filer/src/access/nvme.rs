//! NVMe over TCP by the kernel's target (nvmet): one subsystem for each permit.
//!
//! # Behavior
//! The kernel lets a host that is connected go on when it is taken from `allowed_hosts`, and what drops connections
//! drops those of all hosts of a subsystem. So each host has a subsystem of its own, and fencing it ends nobody
//! else's I/O. All subsystems of a volume show the same NGUID.
//!
//! A host that is refused once may give up for good, and a port listens from its first subsystem on. So nothing is
//! linked to a port before [`Nvme::answer`].
//!
//! # Durability
//! The kernel's target announces a volatile write cache whatever is behind it. A host that loses its connection while
//! it flushes repeats the flush, and not the writes before it that were answered. So an answered write must be durable:
//! an image carries the flag by which its file system flushes each write (`chattr +S`), and a device is served only
//! when it has no such cache itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use model::{NamespaceId, NvmeRoute, Permit, Route};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags, major, minor};

use super::configfs::{directory, link, links, names, read, remove, step, unlink, value, write};
use super::ledger::Entry;
use super::settings::{NvmeSettings, check_name};
use super::{Client, Content, Granted, Served, machine, other_content, portal};
use crate::error::{Context as _, Result};
use crate::{FilerError, Outcome};

/// The numbers of ports above this one are ours: one there that has no transport yet is half made, by us.
const OURS: u16 = 5_407;

#[derive(Debug)]
pub(super) struct Nvme {
    root: PathBuf,
    base: String,
    portals: Vec<IpAddr>,
    port: u16,
    answers: AtomicBool,
}

impl Nvme {
    pub(super) fn open(wish: &NvmeSettings, portals: &[IpAddr]) -> Result<Nvme> {
        let root = machine::configfs()?.join("nvmet");
        machine::kernel_has("NVMe target", &["nvmet"], &root)?;
        machine::kernel_has("NVMe target over TCP", &["nvmet-tcp"], Path::new("/sys/module/nvmet_tcp"))?;
        let nvme = Nvme {
            root,
            base: wish.base.clone(),
            portals: portals.to_vec(),
            port: wish.port,
            answers: AtomicBool::new(false),
        };
        nvme.prepare()?;
        Ok(nvme)
    }

    /// A port for each portal.
    pub(super) fn prepare(&self) -> Result<()> {
        self.portals.iter().try_for_each(|&address| self.door(address).map(drop))
    }

    /// Lets hosts in to all that is served, and from now on at once.
    pub(super) fn answer(&self) -> Result<()> {
        let begin = format!("{}:", self.base);
        for name in names(&self.root.join("subsystems"))?.iter().filter(|name| name.starts_with(&begin)) {
            self.open_doors(name)?;
        }
        self.answers.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn check(&self, served: &Served) -> Result<()> {
        if let Content::Device(path) = &served.content
            && has_volatile_cache(path)?
        {
            return Err(FilerError::Unsupported(format!(
                "volume `{}`: {} has a volatile write cache, which the kernel's NVMe target cannot write through: what \
                 it answered would be lost with the power of this machine; use iSCSI, or a pool on btrfs or XFS",
                served.handle,
                path.display()
            )));
        }
        served.permits.iter().try_for_each(|permit| {
            host(permit)?;
            match permit.read_only {
                true => Err(FilerError::Unsupported(format!(
                    "volume `{}`: NVMe cannot be served for reading only; use iSCSI or NFS, or mount it read-only",
                    served.handle
                ))),
                false => Ok(()),
            }
        })
    }

    pub(super) fn serve(&self, served: &Served, entry: &Entry) -> Result<Outcome<Vec<Granted>>> {
        let mut wanted = BTreeSet::new();
        for permit in &served.permits {
            wanted.insert(self.subsystem(entry, host(permit)?));
        }
        let mut changed = self.fence(entry, |name| wanted.contains(name))?;
        let mut granted = Vec::new();
        for permit in &served.permits {
            let (host, name) = (host(permit)?, self.subsystem(entry, host(permit)?));
            changed |= self.offer(served, entry, &name, host)?;
            let route = NvmeRoute {
                subsystem: name,
                portals: self.portals.iter().map(|&address| portal(address, self.port)).collect(),
                namespace: NamespaceId::Nguid(entry.serial.clone()),
            };
            granted.push(Granted { node: permit.node.name.clone(), route: Route::Nvme(route) });
        }
        Ok(if changed { Outcome::Changed(granted) } else { Outcome::Unchanged(granted) })
    }

    pub(super) fn withdraw(&self, entry: &Entry) -> Result<()> {
        self.fence(entry, |_| false).map(drop)
    }

    pub(super) fn clients(&self, entry: &Entry) -> Result<BTreeSet<Client>> {
        let mut clients = BTreeSet::new();
        for name in self.subsystems(entry)? {
            let subsystem = self.root.join("subsystems").join(name);
            let hosts = links(&subsystem.join("allowed_hosts"))?;
            clients.extend(hosts.into_iter().map(|(_, host)| Client::Host(host)));
        }
        Ok(clients)
    }

    pub(super) fn grown(&self, entry: &Entry) -> Result<()> {
        for name in self.subsystems(entry)? {
            write(&self.root.join("subsystems").join(name).join("namespaces/1/revalidate_size"), "1")?;
        }
        Ok(())
    }

    fn offer(&self, served: &Served, entry: &Entry, name: &str, host: &str) -> Result<bool> {
        let subsystem = self.root.join("subsystems").join(name);
        let mut changed = directory(&subsystem)?;
        value(&subsystem.join("attr_serial"), &entry.serial[..20])?;
        if let Content::Image(path) = &served.content {
            flush_each_write(path)?;
        }
        let space = subsystem.join("namespaces/1");
        changed |= directory(&space)?;
        if read(&space.join("enable"))? != "1" {
            write(&space.join("device_path"), &served.path().display().to_string())?;
            write(&space.join("device_nguid"), &entry.uuid())?;
            write(&space.join("device_uuid"), &entry.uuid())?;
            write(&space.join("enable"), "1")?;
            changed = true;
        } else if read(&space.join("device_path"))? != served.path().display().to_string() {
            return Err(other_content(served));
        }
        let identity = self.root.join("hosts").join(host);
        directory(&identity)?;
        changed |= link(&subsystem.join("allowed_hosts").join(host), &identity)?;
        // Last: who connects finds all of it.
        if self.answers.load(Ordering::Relaxed) {
            changed |= self.open_doors(name)?;
        }
        Ok(changed)
    }

    fn open_doors(&self, name: &str) -> Result<bool> {
        let mut changed = false;
        for &address in &self.portals {
            let door = self.door(address)?.join("subsystems").join(name);
            changed |= link(&door, &self.root.join("subsystems").join(name))?;
        }
        Ok(changed)
    }

    /// Ends the subsystem of every host that shall not keep it.
    fn fence(&self, entry: &Entry, keep: impl Fn(&str) -> bool) -> Result<bool> {
        let mut changed = false;
        for name in self.subsystems(entry)?.into_iter().filter(|name| !keep(name)) {
            let subsystem = self.root.join("subsystems").join(&name);
            // This waits for what is under way; nothing is read or written through this subsystem from here on.
            let space = subsystem.join("namespaces/1");
            if space.is_dir() {
                value(&space.join("enable"), "0")?;
            }
            // This ends its connections.
            for port in names(&self.root.join("ports"))? {
                unlink(&self.root.join("ports").join(port).join("subsystems").join(&name))?;
            }
            for (host, _) in links(&subsystem.join("allowed_hosts"))? {
                unlink(&subsystem.join("allowed_hosts").join(host))?;
            }
            remove(&space)?;
            changed |= remove(&subsystem)?;
        }
        Ok(changed)
    }

    fn door(&self, address: IpAddr) -> Result<PathBuf> {
        nvme_door(&self.root, address, self.port)
    }

    fn subsystems(&self, entry: &Entry) -> Result<Vec<String>> {
        let begin = format!("{}:{}:", self.base, entry.serial);
        let all = names(&self.root.join("subsystems"))?;
        Ok(all.into_iter().filter(|name| name.starts_with(&begin)).collect())
    }

    fn subsystem(&self, entry: &Entry, host: &str) -> String {
        format!("{}:{}:{:016x}", self.base, entry.serial, digest(host))
    }
}

fn host(permit: &Permit) -> Result<&str> {
    let node = &permit.node;
    let host = node.nqn.as_deref().ok_or_else(|| {
        FilerError::Invalid(format!(
            "node `{}` has no NVMe host name: install nvme-cli there (/etc/nvme/hostnqn)",
            node.name
        ))
    })?;
    check_name(&format!("node `{}`: nqn", node.name), host, &["nqn."], 223)?;
    Ok(host)
}

/// The port at an address, made when there is none; `root` is nvmet's directory in configfs.
///
/// # Errors
/// What the kernel says.
pub fn nvme_door(root: &Path, address: IpAddr, port: u16) -> Result<PathBuf> {
    let ports = root.join("ports");
    let (family, text, service) =
        (if address.is_ipv4() { "ipv4" } else { "ipv6" }, address.to_string(), port.to_string());
    let (mut half_made, mut last) = (None, OURS);
    for name in names(&ports)? {
        let port = ports.join(&name);
        let is = |file: &str, wanted: &str| read(&port.join(file)).map(|text| text == wanted);
        if is("addr_trtype", "tcp")? && is("addr_traddr", &text)? && is("addr_trsvcid", &service)? {
            return Ok(port);
        }
        if let Some(number) = name.parse().ok().filter(|&number: &u16| number >= OURS) {
            last = last.max(number);
            if is("addr_trtype", "")? {
                half_made = Some(port);
            }
        }
    }
    let port = half_made.unwrap_or_else(|| ports.join((last + 1).to_string()));
    directory(&port)?;
    value(&port.join("addr_adrfam"), family)?;
    value(&port.join("addr_trsvcid"), &service)?;
    value(&port.join("addr_traddr"), &text)?;
    value(&port.join("addr_trtype"), "tcp")?;
    Ok(port)
}

/// Makes the file system flush each write to this file before it is answered, also through what has it open.
///
/// # Errors
/// `Io` where the file system has no such flag.
pub fn flush_each_write(image: &Path) -> Result<()> {
    let file = File::open(image).while_doing("open", image)?;
    let flags = ioctl_getflags(&file).while_doing("read the flags of", image)?;
    if flags.contains(IFlags::SYNC) {
        return Ok(());
    }
    step();
    ioctl_setflags(&file, flags | IFlags::SYNC).while_doing("have each write flushed of", image)
}

/// Whether the device may lose what it has answered.
fn has_volatile_cache(device: &Path) -> Result<bool> {
    let number = fs::metadata(device).while_doing("look at", device)?.rdev();
    let block = PathBuf::from(format!("/sys/dev/block/{}:{}", major(number), minor(number)));
    let block = fs::canonicalize(&block).while_doing("resolve", &block)?;
    // A partition has the queue of its disk.
    let queues = [block.join("queue"), block.join("../queue")];
    let queue = queues.iter().find(|queue| queue.is_dir()).unwrap_or(&queues[0]);
    Ok(read(&queue.join("write_cache"))? != "write through")
}

/// FNV-1a: short, and the same for ever.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
