//! LUNs: units of the kernel's target (LIO), numbered for each initiator as its igroups say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use filer::FilerError;
use filer::access::configfs::{directory, link, links, names, read, remove, unlink, value};
use filer::access::{Backstore, Offer, machine};
use model::Bytes;

use super::{Places, Result};
use crate::wires::{Initiator, Target, Unit};

/// The number of our host bus adapters, which keep our backstores apart from those of others.
const ADAPTER: u32 = 5_408;
const PORT: u16 = 3_260;
/// How the names of our targets begin.
const OURS: &str = "iqn.1992-08.com.netapp:";

#[derive(Debug)]
pub(super) struct Iscsi {
    base: PathBuf,
}

impl Iscsi {
    pub(super) fn open() -> Result<Iscsi> {
        let base = machine::configfs()?.join("target");
        machine::kernel_has("SCSI target", &["target_core_mod"], &base)?;
        let modules = ["target_core_file", "iscsi_target_mod"];
        machine::kernel_has("iSCSI target", &modules, &base.join("iscsi"))?;
        directory(&base.join("iscsi"))?;
        Ok(Iscsi { base })
    }

    pub(super) fn serve(&self, targets: &BTreeMap<String, Target>, places: &dyn Places) -> Result<()> {
        for name in names(&self.base.join("iscsi"))?.iter().filter(|name| name.starts_with(OURS)) {
            self.fence(name, targets.get(name).unwrap_or(&Target::default()))?;
        }
        let serials: BTreeSet<&str> = targets
            .values()
            .flat_map(|target| target.units.values())
            .map(|unit| unit.serial.as_str())
            .collect();
        for serial in names(&self.base.join(format!("core/fileio_{ADAPTER}")))? {
            let store = self.store(&serial);
            if store.place().is_dir() && !serials.contains(serial.as_str()) {
                store.remove()?;
            }
        }
        targets.iter().try_for_each(|(name, target)| self.offer(name, target, places))
    }

    pub(super) fn grown(&self, targets: &BTreeMap<String, Target>, handle: &str, size: Bytes) -> Result<()> {
        let units = targets.values().filter_map(|target| target.units.get(handle));
        units.into_iter().try_for_each(|unit| self.store(&unit.serial).grown(size))
    }

    /// Takes what shall not be: maps, then initiators, then units, then portals.
    fn fence(&self, name: &str, target: &Target) -> Result<()> {
        let group = self.group(name);
        for initiator in names(&group.join("acls"))? {
            let acl = group.join("acls").join(&initiator);
            let wanted = target.initiators.get(&initiator);
            for mapped in names(&acl)?.iter().filter(|name| name.starts_with("lun_")) {
                let place = acl.join(mapped);
                let number = mapped.trim_start_matches("lun_").parse().ok();
                let handle = number.and_then(|number: u64| wanted?.units.get(&number));
                let unit = handle.and_then(|handle| target.units.get(handle));
                let shows = self.shown(&place)?;
                if unit.is_none_or(|unit| shows.as_deref() != Some(&unit.serial)) {
                    empty(&place)?;
                    remove(&place)?;
                }
            }
            // A session stays: it reaches nothing, and its node ends it in its own order.
            if wanted.is_none() && read(&acl.join("info"))?.starts_with("No active iSCSI Session") {
                remove(&acl)?;
            }
        }
        for lun in names(&group.join("lun"))? {
            let place = group.join("lun").join(lun);
            let serial = links(&place)?.into_iter().map(|(_, store)| store).next();
            let is_wanted = |serial: &String| target.units.values().any(|unit| unit.serial == *serial);
            if !serial.as_ref().is_some_and(is_wanted) {
                empty(&place)?;
                remove(&place)?;
            }
        }
        let wanted: Vec<String> = target.portals.iter().map(|&address| portal(address)).collect();
        for portal in names(&group.join("np"))?.iter().filter(|portal| !wanted.contains(portal)) {
            remove(&group.join("np").join(portal))?;
        }
        Ok(())
    }

    fn offer(&self, name: &str, target: &Target, places: &dyn Places) -> Result<()> {
        let group = self.group(name);
        directory(&group)?;
        let attributes = group.join("attrib");
        let proof = target.initiators.values().any(|initiator| initiator.inbound.is_some());
        value(&attributes.join("authentication"), if proof { "1" } else { "0" })?;
        // Who has no ACL does not come in; a new map can be written.
        value(&attributes.join("generate_node_acls"), "0")?;
        value(&attributes.join("prod_mode_write_protect"), "0")?;
        for (handle, unit) in &target.units {
            self.offer_unit(&group, unit, &places.place(handle)?)?;
        }
        for (initiator, wanted) in &target.initiators {
            let acl = group.join("acls").join(initiator);
            directory(&acl)?;
            prove(&acl, wanted)?;
            for (number, handle) in &wanted.units {
                let Some(unit) = target.units.get(handle) else { continue };
                let place = acl.join(format!("lun_{number}"));
                directory(&place)?;
                if links(&place)?.is_empty() {
                    link(&place.join("unit"), &self.lun(&group, &unit.serial)?)?;
                }
            }
        }
        for &address in &target.portals {
            directory(&group.join("np").join(portal(address)))?;
        }
        value(&group.join("enable"), "1").map(drop)
    }

    fn offer_unit(&self, group: &Path, unit: &Unit, content: &Path) -> Result<()> {
        let store = self.store(&unit.serial);
        if store.offer(content, Bytes::new(unit.size))? == Offer::OfOther {
            return Err(FilerError::Conflict(format!(
                "the unit {} has other content than {}",
                unit.serial,
                content.display()
            )));
        }
        let lun = self.lun(group, &unit.serial)?;
        directory(&lun)?;
        if links(&lun)?.is_empty() {
            link(&lun.join("content"), store.place())?;
        }
        Ok(())
    }

    /// Where a unit is in its group, or can be.
    fn lun(&self, group: &Path, serial: &str) -> Result<PathBuf> {
        let luns = group.join("lun");
        let there = names(&luns)?;
        for name in &there {
            if links(&luns.join(name))?.iter().any(|(_, store)| store == serial) {
                return Ok(luns.join(name));
            }
        }
        let free = (0..u16::MAX).map(|number| format!("lun_{number}")).find(|name| !there.contains(name));
        Ok(luns.join(free.unwrap_or_default()))
    }

    /// The serial number of what a map shows.
    fn shown(&self, mapped: &Path) -> Result<Option<String>> {
        let Ok(entries) = std::fs::read_dir(mapped) else { return Ok(None) };
        for entry in entries.flatten() {
            // From the map to the unit, and from there to its content.
            if let Ok(lun) = std::fs::canonicalize(entry.path())
                && entry.path().is_symlink()
            {
                return Ok(links(&lun)?.into_iter().map(|(_, store)| store).next());
            }
        }
        Ok(None)
    }

    fn group(&self, target: &str) -> PathBuf {
        self.base.join("iscsi").join(target).join("tpgt_1")
    }

    fn store(&self, serial: &str) -> Backstore {
        Backstore::new(&self.base.join("core"), ADAPTER, serial)
    }
}

fn prove(acl: &Path, initiator: &Initiator) -> Result<()> {
    let auth = acl.join("auth");
    for (account, user, password) in [
        (&initiator.inbound, "userid", "password"),
        (&initiator.outbound, "userid_mutual", "password_mutual"),
    ] {
        if let Some((name, secret)) = account {
            value(&auth.join(user), name)?;
            value(&auth.join(password), secret)?;
        }
    }
    Ok(())
}

fn empty(place: &Path) -> Result<()> {
    for (name, _) in links(place)? {
        unlink(&place.join(name))?;
    }
    Ok(())
}

fn portal(address: std::net::IpAddr) -> String {
    std::net::SocketAddr::new(address, PORT).to_string()
}
