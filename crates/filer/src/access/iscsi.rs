//! iSCSI by the kernel's target (LIO): one target, one portal group on every portal, an ACL for each initiator.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use model::{Bytes, Chap, IscsiRoute, Permit, Route};

use super::configfs::{directory, link, links, names, read, remove, unlink, value, write};
use super::ledger::Entry;
use super::settings::{IscsiSettings, check_name};
use super::{Client, Granted, Served, machine, other_content, portal};
use crate::error::Result;
use crate::{FilerError, Outcome};

/// The number of our host bus adapters, which keep our backstores apart from those of others.
const ADAPTER: u32 = 5_407;

/// The content of a unit in the kernel's target, below a host bus adapter that keeps those of one owner apart.
#[derive(Debug)]
pub struct Backstore {
    place: PathBuf,
    serial: String,
}

/// What a backstore shows that was to show some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Now,
    Before,
    /// Something else: it is to be removed first.
    OfOther,
}

#[derive(Debug)]
pub(super) struct Iscsi {
    core: PathBuf,
    group: PathBuf,
    target: String,
    portals: Vec<String>,
    chap: Option<Chap>,
    accounts: BTreeMap<String, Chap>,
}

impl Iscsi {
    pub(super) fn open(wish: &IscsiSettings, portals: &[IpAddr]) -> Result<Iscsi> {
        let config = machine::configfs()?;
        let base = config.join("target");
        machine::kernel_has("SCSI target", &["target_core_mod"], &base)?;
        let modules = ["target_core_file", "iscsi_target_mod"];
        machine::kernel_has("iSCSI target", &modules, &base.join("iscsi"))?;
        directory(&base.join("iscsi"))?;
        let iscsi = Iscsi {
            core: base.join("core"),
            group: base.join("iscsi").join(&wish.target).join("tpgt_1"),
            target: wish.target.clone(),
            portals: portals.iter().map(|&address| portal(address, wish.port)).collect(),
            chap: wish.chap.clone(),
            accounts: wish.accounts.clone(),
        };
        iscsi.prepare()?;
        iscsi.sweep()?;
        Ok(iscsi)
    }

    /// The target and its portals.
    pub(super) fn prepare(&self) -> Result<()> {
        directory(&self.group)?;
        let attributes = self.group.join("attrib");
        let proof = self.chap.is_some() || !self.accounts.is_empty();
        value(&attributes.join("authentication"), if proof { "1" } else { "0" })?;
        // Who has no ACL does not come in.
        value(&attributes.join("generate_node_acls"), "0")?;
        for portal in &self.portals {
            directory(&self.group.join("np").join(portal))?;
        }
        Ok(())
    }

    pub(super) fn answer(&self) -> Result<()> {
        value(&self.group.join("enable"), "1").map(drop)
    }

    /// Numbers that the kernel has given out.
    pub(super) fn numbers(&self) -> Result<BTreeSet<u16>> {
        let names = names(&self.group.join("lun"))?;
        Ok(names.iter().filter_map(|name| name.strip_prefix("lun_")?.parse().ok()).collect())
    }

    pub(super) fn check(&self, served: &Served) -> Result<()> {
        for permit in &served.permits {
            let initiator = initiator(permit)?;
            if self.chap_of(initiator).is_none() && !self.accounts.is_empty() {
                return Err(FilerError::Invalid(format!(
                    "initiator `{initiator}` has no CHAP account, and this target asks for one: add it to \
                     `iscsi.accounts`, or set `iscsi.chap`"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn serve(&self, served: &Served, entry: &Entry) -> Result<Outcome<Vec<Granted>>> {
        let mut wanted = BTreeMap::new();
        for permit in &served.permits {
            wanted.insert(initiator(permit)?.to_owned(), permit.read_only);
        }
        let mut changed = self.fence(entry, |initiator| wanted.contains_key(initiator))?;
        changed |= match wanted.is_empty() {
            true => self.release(entry)?,
            false => self.offer(served, entry)?,
        };
        for (initiator, read_only) in &wanted {
            changed |= self.map(initiator, *read_only, entry)?;
        }
        let mut granted = Vec::new();
        for permit in &served.permits {
            let route = IscsiRoute {
                target: self.target.clone(),
                portals: self.portals.clone(),
                lun: entry.number,
                serial: entry.serial.clone(),
                chap: self.chap_of(initiator(permit)?).cloned(),
            };
            granted.push(Granted { node: permit.node.name.clone(), route: Route::Iscsi(route) });
        }
        Ok(if changed { Outcome::Changed(granted) } else { Outcome::Unchanged(granted) })
    }

    pub(super) fn withdraw(&self, entry: &Entry) -> Result<()> {
        self.fence(entry, |_| false)?;
        self.release(entry).map(drop)
    }

    pub(super) fn clients(&self, entry: &Entry) -> Result<BTreeSet<Client>> {
        let mut clients = BTreeSet::new();
        for initiator in names(&self.group.join("acls"))? {
            if !links(&self.mapped(&initiator, entry))?.is_empty() {
                clients.insert(Client::Initiator(initiator));
            }
        }
        Ok(clients)
    }

    pub(super) fn grown(&self, entry: &Entry, size: Bytes) -> Result<()> {
        self.store(entry).grown(size)
    }

    /// Lets go of the content, which may be replaced or removed then.
    fn release(&self, entry: &Entry) -> Result<bool> {
        let (lun, mut changed) = (self.lun(entry), false);
        for (name, target) in links(&lun)? {
            if target == entry.serial {
                changed |= unlink(&lun.join(name))?;
            }
        }
        if links(&lun)?.is_empty() {
            changed |= remove(&lun)?;
        }
        Ok(self.store(entry).remove()? || changed)
    }

    /// The backstore, and its unit in the portal group.
    fn offer(&self, served: &Served, entry: &Entry) -> Result<bool> {
        let store = self.store(entry);
        let mut changed = match store.offer(served.path(), served.size)? {
            Offer::Now => true,
            Offer::Before => false,
            Offer::OfOther => return Err(other_content(served)),
        };
        let lun = self.lun(entry);
        changed |= directory(&lun)?;
        let there = links(&lun)?;
        match there.first() {
            None => link(&lun.join("volume"), store.place()),
            Some((_, target)) if *target == entry.serial => Ok(changed),
            Some((_, target)) => Err(FilerError::Conflict(format!(
                "{} leads to `{target}`, which is not volume `{}`: remove it",
                lun.display(),
                served.handle
            ))),
        }
    }

    fn map(&self, initiator: &str, read_only: bool, entry: &Entry) -> Result<bool> {
        let acl = self.group.join("acls").join(initiator);
        let mut changed = directory(&acl)?;
        changed |= self.prove(&acl, initiator)?;
        let protect = if read_only { "1" } else { "0" };
        let mapped = self.mapped(initiator, entry);
        if links(&mapped)?.is_empty() {
            // A new map begins as this says, so that there is no moment in which it could be written.
            value(&self.group.join("attrib/prod_mode_write_protect"), protect)?;
            directory(&mapped)?;
            link(&mapped.join("volume"), &self.lun(entry))?;
            changed = true;
        }
        Ok(value(&mapped.join("write_protect"), protect)? || changed)
    }

    fn prove(&self, acl: &Path, initiator: &str) -> Result<bool> {
        let Some(chap) = self.chap_of(initiator) else { return Ok(false) };
        let auth = acl.join("auth");
        let mut changed = value(&auth.join("userid"), &chap.initiator.user)?;
        changed |= value(&auth.join("password"), chap.initiator.secret.expose())?;
        if let Some(target) = &chap.target {
            changed |= value(&auth.join("userid_mutual"), &target.user)?;
            changed |= value(&auth.join("password_mutual"), target.secret.expose())?;
        }
        Ok(changed)
    }

    /// Takes the unit from every initiator that shall not keep it; the others' I/O goes on.
    fn fence(&self, entry: &Entry, keep: impl Fn(&str) -> bool) -> Result<bool> {
        let mut changed = false;
        for initiator in names(&self.group.join("acls"))? {
            if !keep(&initiator) {
                let mapped = self.mapped(&initiator, entry);
                for (name, _) in links(&mapped)? {
                    changed |= unlink(&mapped.join(name))?;
                }
                changed |= remove(&mapped)?;
                self.dismiss(&initiator)?;
            }
        }
        Ok(changed)
    }

    /// Removes the ACL of an initiator that has no unit and no session. A session stays: it reaches nothing, and its
    /// node ends it in its own order.
    fn dismiss(&self, initiator: &str) -> Result<()> {
        let acl = self.group.join("acls").join(initiator);
        let has_units = names(&acl)?.iter().any(|name| name.starts_with("lun_"));
        if !has_units && read(&acl.join("info"))?.starts_with("No active iSCSI Session") {
            remove(&acl)?;
        }
        Ok(())
    }

    /// ACLs whose session had not ended when their last unit was taken.
    fn sweep(&self) -> Result<()> {
        names(&self.group.join("acls"))?.iter().try_for_each(|initiator| self.dismiss(initiator))
    }

    fn chap_of(&self, initiator: &str) -> Option<&Chap> {
        self.accounts.get(initiator).or(self.chap.as_ref())
    }

    fn store(&self, entry: &Entry) -> Backstore {
        Backstore::new(&self.core, ADAPTER, &entry.serial)
    }

    fn lun(&self, entry: &Entry) -> PathBuf {
        self.group.join("lun").join(format!("lun_{}", entry.number))
    }

    fn mapped(&self, initiator: &str, entry: &Entry) -> PathBuf {
        self.group.join("acls").join(initiator).join(format!("lun_{}", entry.number))
    }
}

impl Backstore {
    /// `core` is the directory of backstores in configfs.
    pub fn new(core: &Path, adapter: u32, serial: &str) -> Backstore {
        Backstore { place: core.join(format!("fileio_{adapter}")).join(serial), serial: serial.to_owned() }
    }

    /// Where it is in configfs.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// # Errors
    /// What the kernel says.
    pub fn offer(&self, content: &Path, size: Bytes) -> Result<Offer> {
        let path = content.display();
        // A device, too: `iblock` would show the initiator the device's volatile cache, and a thin volume has one. Opened
        // like this, each write is flushed before it is answered. Never `fd_buffered_io`: an initiator whose flush is
        // under way when our power fails repeats the flush afterwards and not the writes before it, which were answered
        // and would be gone.
        let control = format!("fd_dev_name={path},fd_dev_size={}", size.get());
        let mut changed = directory(&self.place)?;
        if read(&self.place.join("enable"))? != "1" {
            write(&self.place.join("control"), &control)?;
            write(&self.place.join("udev_path"), &path.to_string())?;
            write(&self.place.join("enable"), "1")?;
            changed = true;
        } else if read(&self.place.join("udev_path"))? != path.to_string() {
            return Ok(Offer::OfOther);
        }
        // Which ways are good is the storage's to say: as it comes, an initiator's multipath sets them all back to the best.
        let states_set_by = self.place.join("alua/default_tg_pt_gp/alua_access_type");
        if read(&states_set_by)? != "Implicit" {
            write(&states_set_by, "1")?;
        }
        let serial = self.place.join("wwn/vpd_unit_serial");
        if !read(&serial)?.ends_with(&self.serial) {
            write(&serial, &self.serial)?;
        }
        // What cannot discard refuses this, and is served without.
        let discards = self.place.join("attrib/emulate_tpu");
        if read(&discards)? != "1" && write(&discards, "1").is_err() {
            tracing::debug!(content = %path, "it cannot discard");
        }
        Ok(if changed { Offer::Now } else { Offer::Before })
    }

    /// The content has another size. A device is asked for its size each time; a file's is what was written here.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn grown(&self, size: Bytes) -> Result<()> {
        match self.place.is_dir() {
            true => write(&self.place.join("control"), &format!("fd_dev_size={}", size.get())),
            false => Ok(()),
        }
    }

    /// Lets go of the content.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self) -> Result<bool> {
        remove(&self.place)
    }
}

fn initiator(permit: &Permit) -> Result<&str> {
    let node = &permit.node;
    let initiator = node.initiator.as_deref().ok_or_else(|| {
        FilerError::Invalid(format!(
            "node `{}` has no iSCSI initiator name: install open-iscsi there (/etc/iscsi/initiatorname.iscsi)",
            node.name
        ))
    })?;
    check_name(&format!("node `{}`: initiator", node.name), initiator, &["iqn.", "eui.", "naa."], 223)?;
    Ok(initiator)
}
