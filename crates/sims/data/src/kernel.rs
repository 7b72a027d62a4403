//! The machine: addresses, NFS, iSCSI and NVMe, made equal to what shall be.

mod addresses;
mod gate;
mod iscsi;
mod nfs;
mod nvme;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use filer::FilerError;
use model::Bytes;

use crate::wires::Wires;
pub(crate) use gate::Gate;
use iscsi::Iscsi;
use nfs::Nfs;
use nvme::Nvme;

pub(crate) type Result<T> = std::result::Result<T, FilerError>;

/// The kernel's servers on this machine, as far as they were asked for.
#[derive(Debug)]
pub(crate) struct Kernel {
    nfs: Option<Nfs>,
    iscsi: Option<Iscsi>,
    nvme: Option<Nvme>,
    /// As they were made last.
    addresses: Mutex<BTreeMap<IpAddr, bool>>,
}

/// Where content is on this machine.
pub(crate) trait Places {
    /// # Errors
    /// `NotFound` without it.
    fn place(&self, handle: &str) -> Result<PathBuf>;
}

impl Kernel {
    /// # Errors
    /// `Unsupported` for what this machine lacks.
    pub(crate) fn open(nfs: bool, iscsi: bool, nvme: bool) -> Result<Kernel> {
        Ok(Kernel {
            nfs: nfs.then(Nfs::open).transpose()?,
            iscsi: iscsi.then(Iscsi::open).transpose()?,
            nvme: nvme.then(Nvme::open).transpose()?,
            addresses: Mutex::default(),
        })
    }

    /// Makes the machine serve this and nothing else of ours. Who is not to see something any more is shut out first.
    ///
    /// # Errors
    /// What the kernel says. Repeated, it goes on from there.
    pub(crate) fn serve(&self, wires: &Wires, places: &dyn Places) -> Result<()> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if *addresses != wires.addresses {
            addresses::take(&wires.addresses)?;
            addresses::add(&wires.addresses)?;
            addresses.clone_from(&wires.addresses);
        }
        if let Some(nfs) = &self.nfs {
            nfs.serve(&wires.shares, places)?;
        }
        if let Some(iscsi) = &self.iscsi {
            iscsi.serve(&wires.targets, places)?;
        }
        if let Some(nvme) = &self.nvme {
            nvme.serve(&wires.subsystems, places)?;
        }
        Ok(())
    }

    /// Tells what looks at the blocks of this content that there are more of them.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn grown(&self, wires: &Wires, handle: &str, size: Bytes) -> Result<()> {
        if let Some(iscsi) = &self.iscsi {
            iscsi.grown(&wires.targets, handle, size)?;
        }
        if let Some(nvme) = &self.nvme {
            nvme.grown(&wires.subsystems, handle)?;
        }
        Ok(())
    }

    /// Lets nobody write until the gate is dropped.
    ///
    /// # Errors
    /// As of [`Gate`].
    pub(crate) fn shut(&self) -> Result<Gate> {
        Gate::shut()
    }

    /// Lets clients in.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn answer(&self) -> Result<()> {
        if self.nfs.is_some() || self.iscsi.is_some() || self.nvme.is_some() {
            Gate::open_all()?;
        }
        self.nfs.as_ref().map_or(Ok(()), Nfs::answer)
    }
}

/// A system call's error, with what it was for.
pub(crate) fn failed(operation: &'static str, path: &Path, error: impl Into<std::io::Error>) -> FilerError {
    FilerError::Io { operation, path: path.to_owned(), source: error.into() }
}
