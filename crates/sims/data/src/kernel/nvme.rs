//! Namespaces: the kernel's target over TCP (nvmet), with the array's subsystems.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use filer::FilerError;
use filer::access::configfs::{directory, link, links, names, read, remove, unlink, value, write};
use filer::access::{flush_each_write, machine, nvme_door};

use super::{Places, Result};
use crate::wires::Subsystem;

const PORT: u16 = 4_420;
/// How the names of our subsystems begin.
const OURS: &str = "nqn.1992-08.com.netapp:";

#[derive(Debug)]
pub(super) struct Nvme {
    root: PathBuf,
}

impl Nvme {
    pub(super) fn open() -> Result<Nvme> {
        let root = machine::configfs()?.join("nvmet");
        machine::kernel_has("NVMe target", &["nvmet"], &root)?;
        machine::kernel_has("NVMe target over TCP", &["nvmet-tcp"], Path::new("/sys/module/nvmet_tcp"))?;
        Ok(Nvme { root })
    }

    pub(super) fn serve(&self, subsystems: &BTreeMap<String, Subsystem>, places: &dyn Places) -> Result<()> {
        for name in names(&self.root.join("subsystems"))?.iter().filter(|name| name.starts_with(OURS)) {
            self.fence(name, subsystems.get(name))?;
        }
        subsystems.iter().try_for_each(|(name, subsystem)| self.offer(name, subsystem, places))
    }

    pub(super) fn grown(&self, subsystems: &BTreeMap<String, Subsystem>, handle: &str) -> Result<()> {
        for (name, subsystem) in subsystems {
            for (number, _) in subsystem.namespaces.iter().filter(|(_, own)| *own == handle) {
                write(&self.space(name, *number).join("revalidate_size"), "1")?;
            }
        }
        Ok(())
    }

    /// Takes what shall not be: namespaces, hosts, and what is at no port any more.
    fn fence(&self, name: &str, wanted: Option<&Subsystem>) -> Result<()> {
        let own = self.root.join("subsystems").join(name);
        for number in names(&own.join("namespaces"))? {
            let shall = wanted.and_then(|wanted| wanted.namespaces.get(&number.parse().ok()?));
            let space = own.join("namespaces").join(&number);
            if shall.is_none_or(|handle| read(&space.join("device_uuid")).is_ok_and(|own| own != *handle)) {
                // This waits for what is under way.
                value(&space.join("enable"), "0")?;
                remove(&space)?;
            }
        }
        for (host, _) in links(&own.join("allowed_hosts"))? {
            if wanted.is_none_or(|wanted| !wanted.hosts.contains(&host)) {
                unlink(&own.join("allowed_hosts").join(&host))?;
                // Who is connected stays so until its port lets the subsystem go.
                self.leave(name, |_| true)?;
            }
        }
        self.leave(name, |port| {
            wanted.is_none_or(|wanted| !wanted.portals.iter().any(|at| at.to_string() == port))
        })?;
        match wanted {
            None => remove(&own).map(drop),
            Some(_) => Ok(()),
        }
    }

    /// Takes a subsystem off the ports at some addresses, which ends its connections there.
    fn leave(&self, name: &str, from: impl Fn(&str) -> bool) -> Result<()> {
        for port in names(&self.root.join("ports"))? {
            let port = self.root.join("ports").join(port);
            if from(&read(&port.join("addr_traddr"))?) {
                unlink(&port.join("subsystems").join(name))?;
            }
        }
        Ok(())
    }

    fn offer(&self, name: &str, subsystem: &Subsystem, places: &dyn Places) -> Result<()> {
        let own = self.root.join("subsystems").join(name);
        directory(&own)?;
        let serial = subsystem.serial.get(..20).unwrap_or(&subsystem.serial);
        value(&own.join("attr_serial"), serial)?;
        for (number, handle) in &subsystem.namespaces {
            let content = places.place(handle)?;
            flush_each_write(&content)?;
            let space = self.space(name, *number);
            directory(&space)?;
            if read(&space.join("enable"))? != "1" {
                write(&space.join("device_path"), &content.display().to_string())?;
                write(&space.join("device_nguid"), handle)?;
                write(&space.join("device_uuid"), handle)?;
                write(&space.join("enable"), "1")?;
            } else if read(&space.join("device_path"))? != content.display().to_string() {
                return Err(FilerError::Conflict(format!("namespace {number} of {name} has other content")));
            }
        }
        for host in &subsystem.hosts {
            let identity = self.root.join("hosts").join(host);
            directory(&identity)?;
            link(&own.join("allowed_hosts").join(host), &identity)?;
        }
        // Last: who connects finds all of it.
        for &address in &subsystem.portals {
            let door = nvme_door(&self.root, address, PORT)?;
            link(&door.join("subsystems").join(name), &own)?;
        }
        Ok(())
    }

    fn space(&self, subsystem: &str, number: u64) -> PathBuf {
        self.root.join("subsystems").join(subsystem).join("namespaces").join(number.to_string())
    }
}
