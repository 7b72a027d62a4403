//! NFS by the kernel's server: one export for each permitted address.

mod export;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use model::{Handle, NfsRoute, Route};

use super::ledger::Entry;
use super::settings::NfsSettings;
use super::{Client, Granted, Served, other_content};
use crate::error::Result;
use crate::{FilerError, Outcome};
use export::{Export, exports};
pub use server::{Bound, NfsServer};

#[derive(Debug)]
pub(super) struct Nfs {
    server: NfsServer,
    address: String,
}

impl Nfs {
    pub(super) fn open(wish: &NfsSettings, portals: &[IpAddr]) -> Result<Nfs> {
        let server = NfsServer::open(wish)?;
        Ok(Nfs { server, address: portals.first().map(ToString::to_string).unwrap_or_default() })
    }

    pub(super) fn prepare(&self) -> Result<()> {
        self.server.prepare()
    }

    pub(super) fn answer(&self) -> Result<()> {
        self.server.start()
    }

    pub(super) fn check(&self, served: &Served) -> Result<()> {
        served.permits.iter().try_for_each(|permit| match permit.node.addresses.is_empty() {
            true => Err(FilerError::Invalid(format!(
                "node `{}` has no address: NFS knows nodes by theirs; set `addresses`",
                permit.node.name
            ))),
            false => Ok(()),
        })
    }

    pub(super) fn serve(&self, served: &Served, entry: &Entry) -> Result<Outcome<Vec<Granted>>> {
        let path = self.path(&served.handle);
        let mut wanted = BTreeMap::new();
        for permit in &served.permits {
            for &address in &permit.node.addresses {
                wanted.insert(address, Export { read_only: permit.read_only, fsid: entry.serial.clone() });
            }
        }
        let there = exports(&path)?;
        let surplus: Vec<IpAddr> = there.keys().copied().filter(|a| !wanted.contains_key(a)).collect();
        let mut changed = self.fence(&path, &surplus)?;
        changed |= match wanted.is_empty() {
            true => self.release(&path)?,
            false => self.bind(served)?,
        };
        wanted.retain(|address, export| there.get(address) != Some(export));
        for read_only in [false, true] {
            let some: Vec<IpAddr> =
                wanted.iter().filter(|(_, e)| e.read_only == read_only).map(|(&a, _)| a).collect();
            if !some.is_empty() {
                self.server.export(&path, &some, &Export { read_only, fsid: entry.serial.clone() })?;
                changed = true;
            }
        }
        let route = NfsRoute { server: self.address.clone(), path, mount_options: Vec::new() };
        let grant = |permit: &model::Permit| Granted {
            node: permit.node.name.clone(),
            route: Route::Nfs(route.clone()),
        };
        let granted = served.permits.iter().map(grant).collect();
        Ok(if changed { Outcome::Changed(granted) } else { Outcome::Unchanged(granted) })
    }

    pub(super) fn withdraw(&self, handle: &Handle) -> Result<()> {
        let path = self.path(handle);
        let all: Vec<IpAddr> = exports(&path)?.into_keys().collect();
        self.fence(&path, &all)?;
        self.release(&path).map(drop)
    }

    pub(super) fn clients(&self, handle: &Handle) -> Result<BTreeSet<Client>> {
        Ok(exports(&self.path(handle))?.into_keys().map(Client::Address).collect())
    }

    fn fence(&self, path: &str, clients: &[IpAddr]) -> Result<bool> {
        if clients.is_empty() {
            return Ok(false);
        }
        self.server.unexport(path, clients)?;
        let busy = self.server.clients_of_ours()?;
        for client in clients.iter().filter(|client| !busy.contains(client)) {
            self.server.expire(*client)?;
        }
        Ok(true)
    }

    /// Lets go of the directory, which may be replaced or removed then.
    fn release(&self, path: &str) -> Result<bool> {
        self.server.release(&self.server.place(path))
    }

    fn bind(&self, served: &Served) -> Result<bool> {
        let place = self.server.place(&self.path(&served.handle));
        match self.server.bind(served.path(), &place)? {
            Bound::Now => Ok(true),
            Bound::Before => Ok(false),
            Bound::ToOther => Err(other_content(served)),
        }
    }

    /// As clients know it.
    fn path(&self, handle: &Handle) -> String {
        self.server.path(handle)
    }
}

/// Where a served path is on this machine.
fn below(root: &std::path::Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
