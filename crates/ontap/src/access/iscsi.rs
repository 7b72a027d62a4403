//! igroups: two for each node, one of them for what it shares with nobody, and a LUN map for each permit.

use std::collections::{BTreeMap, BTreeSet};

use driver::{DriverError, ErrorKind, Outcome, Result};
use model::{Handle, IscsiRoute, NodeName, Permit, Route};

use super::{FORBID, NodeGroup, PERMIT, lacking, taken};
use crate::error::{ABSENT, EXISTS, INITIATOR_KNOWN, MAPPED, NO_IGROUP, SEEN_BY_ANOTHER};
use crate::layout::{Array, Found, Unit};
use crate::wire::Named;
use crate::wire::igroups::{self, Map};
use crate::wire::iscsi::{self, Credentials};
use crate::wire::luns::{Lun, LunMap};

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
    pub(crate) async fn map(&self, handle: &Handle, lun: &Lun, permit: &Permit) -> Result<Outcome<Route>> {
        let node = &permit.node.name;
        let initiators = permit.node.initiators();
        if initiators.is_empty() {
            let hint = "install open-iscsi there, so that it gets one";
            return Err(lacking(node, "iSCSI initiator name", hint));
        }
        let before = self.mapped(lun);
        if let Some(other) = self.other(&before, permit) {
            return Err(taken(handle, &other));
        }
        let group = self.groups().name(node, permit.exclusive, PERMIT)?;
        let mut changed = false;
        let mut maps = Vec::new();
        if before.contains_key(node) {
            maps = self.maps(lun).await?;
        }
        if !maps.iter().any(|map| map.igroup.name == group) {
            changed |= self.add_map(lun, &group, &initiators).await?;
            maps = self.maps(lun).await?;
        }
        if let Some(other) = self.other(&self.readers(&maps), permit) {
            self.unmap(lun, &maps, node).await?;
            return Err(taken(handle, &other));
        }
        changed |= self.tidy(lun, &maps, permit, &initiators).await?;
        let number = maps.iter().find(|map| map.igroup.name == group).and_then(|map| map.logical_unit_number);
        let Some(number) = number else {
            let message = format!("`{handle}` has lost its map to `{group}` at this moment");
            return Err(DriverError::new(ErrorKind::Busy, PERMIT, message));
        };
        self.known.change(handle, |seen| {
            if let Unit::Lun(lun) = &mut seen.unit {
                lun.lun_maps =
                    maps.iter().map(|map| LunMap { igroup: Named::new(&map.igroup.name) }).collect();
            }
        });
        let route = Route::Iscsi(IscsiRoute {
            target: self.target.clone().unwrap_or_default(),
            portals: self.portals(PORT),
            lun: number,
            serial: lun.serial_number.clone().unwrap_or_default(),
            chap: self.config.chap.clone(),
        });
        Ok(if changed { Outcome::Changed(route) } else { Outcome::Unchanged(route) })
    }

    /// A node that keeps this one from it.
    fn other(&self, seen: &BTreeMap<NodeName, bool>, permit: &Permit) -> Option<String> {
        let keeps = |(other, alone): &(&NodeName, &bool)| {
            **other != permit.node.name && (permit.exclusive || **alone)
        };
        seen.iter().find(keeps).map(|(other, _)| other.to_string())
    }

    async fn maps(&self, lun: &Lun) -> Result<Vec<Map>> {
        igroups::maps(&self.client, &self.svm, &lun.uuid).await.map_err(self.error(PERMIT))
    }

    fn readers(&self, maps: &[Map]) -> BTreeMap<NodeName, bool> {
        maps.iter().filter_map(|map| self.groups().read(&map.igroup.name)).collect()
    }

    /// Says whether there was none yet.
    async fn add_map(&self, lun: &Lun, group: &str, initiators: &[&str]) -> Result<bool> {
        let fail = self.error(PERMIT);
        let members = initiators.join(" ");
        if !self.sound.is(group, &members) {
            self.group(group, initiators).await?;
            for initiator in initiators {
                let Some(chap) = &self.config.chap else { break };
                let credentials = Credentials::new(&self.svm, initiator, chap);
                iscsi::set_credentials(&self.client, &credentials).await.map_err(&fail)?;
            }
            self.sound.note(group, &members);
        }
        let map = || igroups::map(&self.client, &self.svm, &lun.uuid, group);
        let mut done = map().await;
        if matches!(&done, Err(error) if error.is(NO_IGROUP)) {
            self.group(group, initiators).await?;
            done = map().await;
        }
        match done {
            Ok(()) => Ok(true),
            Err(error) if error.is(MAPPED) || error.is(EXISTS) => Ok(false),
            // By the other of the node's two groups: `tidy` takes that one, and the caller comes again.
            Err(error) if error.is(SEEN_BY_ANOTHER) => {
                let maps = self.maps(lun).await?;
                let node = self.groups().read(group).map(|(node, _)| node);
                for old in maps.iter().filter(|map| self.node_mapped(map) == node) {
                    igroups::unmap(&self.client, &lun.uuid, &old.igroup.uuid).await.map_err(&fail)?;
                }
                map().await.map_err(fail)?;
                Ok(true)
            }
            Err(error) => {
                self.sound.forget(group);
                Err(fail(error))
            }
        }
    }

    /// Takes the node's map of the other kind, and lets into its igroup its initiators and no other.
    async fn tidy(&self, lun: &Lun, maps: &[Map], permit: &Permit, initiators: &[&str]) -> Result<bool> {
        let fail = self.error(PERMIT);
        let mut changed = false;
        for map in maps {
            match self.groups().read(&map.igroup.name) {
                Some((node, alone)) if node == permit.node.name && alone == permit.exclusive => {
                    changed |= self.admit(&map.igroup.uuid, &map.igroup.initiators, initiators).await?;
                }
                Some((node, _)) if node == permit.node.name => {
                    igroups::unmap(&self.client, &lun.uuid, &map.igroup.uuid).await.map_err(&fail)?;
                    changed = true;
                }
                _ => {}
            }
        }
        Ok(changed)
    }

    fn node_mapped(&self, map: &Map) -> Option<NodeName> {
        self.groups().read(&map.igroup.name).map(|(node, _)| node)
    }

    /// Takes the maps of a node. Its igroups stay: empty they let nobody in, and the next volume needs them.
    pub(crate) async fn unmap_node(&self, found: &Found, node: &NodeName) -> Result<bool> {
        let Unit::Lun(lun) = &found.unit else { return Ok(false) };
        if !self.mapped(lun).contains_key(node) {
            return Ok(false);
        }
        let fail = self.error(FORBID);
        let maps = igroups::maps(&self.client, &self.svm, &lun.uuid).await.map_err(fail)?;
        self.unmap(lun, &maps, node).await?;
        Ok(true)
    }

    async fn unmap(&self, lun: &Lun, maps: &[Map], node: &NodeName) -> Result<()> {
        let fail = self.error(FORBID);
        let of_node = |map: &&Map| self.node_mapped(map).as_ref() == Some(node);
        for map in maps.iter().filter(of_node) {
            match igroups::unmap(&self.client, &lun.uuid, &map.igroup.uuid).await {
                Err(error) if !error.is(ABSENT) => return Err(fail(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The node's igroup, holding its initiators and no other; says whether it had to be changed.
    async fn group(&self, name: &str, initiators: &[&str]) -> Result<bool> {
        let fail = self.error(PERMIT);
        let Some(group) = igroups::find(&self.client, &self.svm, name).await.map_err(&fail)? else {
            return match igroups::create(&self.client, &self.svm, name, initiators).await {
                Err(error) if !error.is(EXISTS) => Err(fail(error)),
                _ => Ok(true),
            };
        };
        let known: Vec<String> = group.initiators.into_iter().map(|known| known.name).collect();
        self.admit(&group.uuid, &known, initiators).await
    }

    async fn admit(&self, group: &str, known: &[String], initiators: &[&str]) -> Result<bool> {
        let fail = self.error(PERMIT);
        let mut changed = false;
        for initiator in initiators.iter().filter(|initiator| !known.iter().any(|known| known == *initiator))
        {
            changed = true;
            match igroups::add(&self.client, group, initiator).await {
                Err(error) if !error.is(INITIATOR_KNOWN) => return Err(fail(error)),
                _ => {}
            }
        }
        // A node that got another name must not leave its old one to somebody else.
        for old in known.iter().filter(|known| !initiators.contains(&known.as_str())) {
            igroups::remove(&self.client, group, old).await.map_err(&fail)?;
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
            Unit::Files | Unit::Qtree(_) | Unit::Missing => BTreeSet::new(),
        }
    }
}
