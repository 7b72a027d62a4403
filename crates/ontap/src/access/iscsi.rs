//! igroups: two for each node, one of them for what it shares with nobody, and a LUN map for each permit.

use std::collections::{BTreeMap, BTreeSet};

use driver::{DriverError, ErrorKind, Outcome, Result};
use model::{Handle, IscsiRoute, NodeName, Permit, Route};

use super::{FORBID, NodeGroup, PERMIT, lacking, taken};
use crate::error::{ABSENT, EXISTS, INITIATOR_KNOWN, MAPPED};
use crate::layout::{Array, Found, Unit, lun_path};
use crate::wire::igroups::{self, Map};
use crate::wire::iscsi::{self, Credentials};
use crate::wire::luns::Lun;

const PORT: u16 = 3260;

impl Array {
    pub(crate) fn groups(&self) -> NodeGroup<'_> {
        NodeGroup { instance: &self.instance }
    }

    /// Who can reach a LUN, and whether alone: read from its maps.
    pub(crate) fn mapped(&self, lun: &Lun) -> BTreeMap<NodeName, bool> {
        let maps = lun.lun_maps.iter();
        maps.filter_map(|map| self.groups().read(&map.igroup.name)).collect()
    }

    /// # Behavior
    /// Maps first and looks then: of two nodes that want a LUN alone at the same moment each sees the other's map
    /// or its own alone, and whoever sees another takes its own back.
    pub(crate) async fn map(&self, found: &Found, permit: &Permit) -> Result<Outcome<Route>> {
        let node = &permit.node.name;
        let Some(initiator) = permit.node.initiator.as_deref() else {
            let hint = "install open-iscsi there, so that it gets one";
            return Err(lacking(node, "iSCSI initiator name", hint));
        };
        let Unit::Lun(lun) = &found.unit else { return Err(no_unit(&found.handle)) };
        let fail = self.error(PERMIT);
        let before = self.mapped(lun);
        let others = |seen: &BTreeMap<NodeName, bool>| {
            seen.iter()
                .find(|(other, alone)| *other != node && (permit.exclusive || **alone))
                .map(|(other, _)| other.to_string())
        };
        if let Some(other) = others(&before) {
            return Err(taken(&found.handle, &other));
        }
        let group = self.groups().name(node, permit.exclusive, PERMIT)?;
        let mut changed = self.group(&group, initiator).await?;
        let mut number = before
            .get(node)
            .filter(|alone| **alone == permit.exclusive)
            .and_then(|_| lun.lun_maps.iter().find(|map| map.igroup.name == group))
            .and_then(|map| map.logical_unit_number);
        if number.is_none() {
            changed = true;
            if let Some(chap) = &self.config.chap {
                let credentials = Credentials::new(&self.svm, initiator, chap);
                iscsi::set_credentials(&self.client, &credentials).await.map_err(&fail)?;
            }
            match igroups::map(&self.client, &self.svm, &lun.name, &group).await {
                Err(error) if !error.is(MAPPED) && !error.is(EXISTS) => return Err(fail(error)),
                _ => {}
            }
            let maps = igroups::maps(&self.client, &self.svm, &lun.name).await.map_err(&fail)?;
            let seen: BTreeMap<NodeName, bool> =
                maps.iter().filter_map(|map| self.groups().read(&map.igroup.name)).collect();
            if let Some(other) = others(&seen) {
                self.unmap(lun, &maps, node).await?;
                return Err(taken(&found.handle, &other));
            }
            // The other of its two groups, from a permit of the other kind.
            let old = |map: &&Map| {
                self.groups()
                    .read(&map.igroup.name)
                    .is_some_and(|(n, alone)| n == *node && alone != permit.exclusive)
            };
            for map in maps.iter().filter(old) {
                igroups::unmap(&self.client, &lun.uuid, &map.igroup.uuid).await.map_err(&fail)?;
            }
            number = maps.iter().find(|map| map.igroup.name == group).and_then(|map| map.logical_unit_number);
        }
        let route = Route::Iscsi(IscsiRoute {
            target: self.target.clone().unwrap_or_default(),
            portals: self.portals(PORT),
            lun: number.unwrap_or_default(),
            serial: lun.serial_number.clone().unwrap_or_default(),
            chap: self.config.chap.clone(),
        });
        Ok(if changed { Outcome::Changed(route) } else { Outcome::Unchanged(route) })
    }

    /// Takes the maps of a node; its groups go with the last LUN.
    pub(crate) async fn unmap_node(&self, found: &Found, node: &NodeName) -> Result<bool> {
        let Unit::Lun(lun) = &found.unit else { return Ok(false) };
        if !self.mapped(lun).contains_key(node) {
            return Ok(false);
        }
        let fail = self.error(FORBID);
        let maps = igroups::maps(&self.client, &self.svm, &lun.name).await.map_err(fail)?;
        self.unmap(lun, &maps, node).await?;
        Ok(true)
    }

    async fn unmap(&self, lun: &Lun, maps: &[Map], node: &NodeName) -> Result<()> {
        let fail = self.error(FORBID);
        let of_node = |map: &&Map| self.groups().read(&map.igroup.name).is_some_and(|(n, _)| n == *node);
        for map in maps.iter().filter(of_node) {
            match igroups::unmap(&self.client, &lun.uuid, &map.igroup.uuid).await {
                Err(error) if !error.is(ABSENT) => return Err(fail(error)),
                _ => {}
            }
            // Refused while other LUNs are mapped to it, as it shall be.
            if let Err(error) = igroups::delete(&self.client, &self.svm, &map.igroup.name).await {
                tracing::debug!(igroup = map.igroup.name, %error, "an igroup stays");
            }
        }
        Ok(())
    }

    /// The node's igroup, holding its initiator and no other; says whether it had to be changed.
    async fn group(&self, name: &str, initiator: &str) -> Result<bool> {
        let fail = self.error(PERMIT);
        let Some(group) = igroups::find(&self.client, &self.svm, name).await.map_err(&fail)? else {
            return match igroups::create(&self.client, &self.svm, name, initiator).await {
                Err(error) if !error.is(EXISTS) => Err(fail(error)),
                _ => Ok(true),
            };
        };
        let mut changed = false;
        if !group.initiators.iter().any(|known| known.name == initiator) {
            changed = true;
            match igroups::add(&self.client, &group.uuid, initiator).await {
                Err(error) if !error.is(INITIATOR_KNOWN) => return Err(fail(error)),
                _ => {}
            }
        }
        // A node that got another name must not leave its old one to somebody else.
        for old in group.initiators.iter().filter(|known| known.name != initiator) {
            igroups::remove(&self.client, &group.uuid, &old.name).await.map_err(&fail)?;
            changed = true;
        }
        Ok(changed)
    }

    pub(crate) fn portals(&self, port: u16) -> Vec<String> {
        let portal = |address: &std::net::IpAddr| std::net::SocketAddr::new(*address, port).to_string();
        self.data_addresses.iter().map(portal).collect()
    }

    pub(crate) fn nodes_of(&self, found: &Found) -> BTreeSet<NodeName> {
        match &found.unit {
            Unit::Lun(lun) => self.mapped(lun).into_keys().collect(),
            Unit::Namespace(namespace) => self.attached(namespace).into_iter().collect(),
            Unit::Files | Unit::Missing => BTreeSet::new(),
        }
    }
}

pub(super) fn no_unit(handle: &Handle) -> DriverError {
    let message = format!("`{handle}` has lost its LUN or namespace `{}`", lun_path(handle.as_str()));
    DriverError::new(ErrorKind::NotFound, PERMIT, message)
}
