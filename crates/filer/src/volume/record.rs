//! What a pool keeps beside a volume's data, so that a lost store can be rebuilt.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{Bytes, NodeIdentity, NodeName, Permit};
use serde::{Deserialize, Deserializer, Serialize};

use super::{CreateVolume, Layout, ModifyVolume, Provisioning, Served, Source, VolumeState};
use crate::error::{FilerError, Result};

/// 2: permits with all that they say, and the mark of use. An older release would drop both when it writes.
pub(crate) const FORMAT: u32 = 2;
const OLDEST: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) format: u32,
    pub(crate) handle: String,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) size: Bytes,
    pub(crate) layout: Layout,
    pub(crate) provisioning: Provisioning,
    pub(crate) reserved: bool,
    pub(crate) created: Timestamp,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) source: Option<Source>,
    /// By node name, one for each.
    #[serde(deserialize_with = "permits_of_any_format")]
    pub(crate) permits: Vec<Permit>,
    #[serde(default)]
    pub(crate) staged: Option<bool>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) imported_from: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) size: Bytes,
    /// The volume's mark at that instant.
    #[serde(default)]
    pub(crate) staged: Option<bool>,
}

/// Format 1 kept node names alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnyPermit {
    Name(NodeName),
    Whole(Permit),
}

impl CreateVolume {
    pub(crate) fn record(&self, owner: &str, reserved: bool) -> VolumeRecord {
        VolumeRecord {
            format: FORMAT,
            handle: self.handle.clone(),
            owner: owner.to_owned(),
            name: self.name.clone(),
            size: self.size,
            layout: self.layout,
            provisioning: self.provisioning,
            reserved,
            created: Timestamp::now(),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            source: self.source.clone(),
            permits: Vec::new(),
            staged: Some(false),
            labels: self.labels.clone(),
            imported_from: None,
        }
    }
}

impl VolumeRecord {
    /// # Errors
    /// `Unsupported` for what another release wrote.
    pub(crate) fn check_format(&self) -> Result<()> {
        if (OLDEST..=FORMAT).contains(&self.format) {
            return Ok(());
        }
        Err(FilerError::Unsupported(format!(
            "volume `{}` has a record of format {}, this release reads {OLDEST} to {FORMAT}; use the release that \
             wrote it",
            self.handle, self.format
        )))
    }

    /// Notes the right of a node; says whether that is new, or another than the node had.
    ///
    /// # Errors
    /// `InUse` while another node has a permit, when either is exclusive.
    pub(crate) fn permit(&mut self, permit: &Permit) -> Result<bool> {
        let name = &permit.node.name;
        let stranger =
            self.permits.iter().find(|p| p.node.name != *name && (p.exclusive || permit.exclusive));
        if let Some(other) = stranger {
            let alone = if other.exclusive { "alone" } else { "already" };
            return Err(FilerError::InUse(format!(
                "volume `{}` is permitted to node `{}` {alone} and cannot be permitted to `{name}`{}; stop its users \
                 and forbid it there first",
                self.handle,
                other.node.name,
                if permit.exclusive { " alone" } else { "" }
            )));
        }
        match self.permits.binary_search_by(|kept| kept.node.name.cmp(name)) {
            Ok(at) if self.permits[at] == *permit => return Ok(false),
            Ok(at) => self.permits[at] = permit.clone(),
            Err(at) => self.permits.insert(at, permit.clone()),
        }
        Ok(true)
    }

    /// Says whether anything is to change; a block volume has no mode.
    pub(crate) fn modify(&mut self, changes: &ModifyVolume) -> bool {
        let before = (self.mode, self.labels.clone());
        if self.layout == Layout::File {
            self.mode = changes.mode.or(self.mode);
        }
        self.labels.extend(changes.labels.clone());
        before != (self.mode, self.labels.clone())
    }

    /// Takes the right of a node; says whether it had one.
    pub(crate) fn forbid(&mut self, node: &NodeName) -> bool {
        let before = self.permits.len();
        self.permits.retain(|permit| permit.node.name != *node);
        self.permits.len() < before
    }

    pub(crate) fn check_unpermitted(&self, what: &str) -> Result<()> {
        if self.permits.is_empty() {
            return Ok(());
        }
        let nodes: Vec<&str> = self.permits.iter().map(|permit| permit.node.name.as_str()).collect();
        Err(FilerError::InUse(format!(
            "volume `{}` is permitted to {} and cannot be {what}; stop its users and forbid it there first",
            self.handle,
            nodes.join(", ")
        )))
    }

    /// # Errors
    /// `Conflict` for another instance's volume.
    pub(crate) fn check_owner(&self, instance: &str) -> Result<()> {
        if self.owner == instance {
            return Ok(());
        }
        Err(FilerError::Conflict(format!(
            "volume `{}` belongs to instance `{}`, this is `{instance}`; use another name, or that instance",
            self.handle, self.owner
        )))
    }

    /// # Errors
    /// `Conflict` if it is not what is asked for.
    pub(crate) fn check_is(&self, wanted: &CreateVolume) -> Result<()> {
        match self.differs_from(wanted) {
            None => Ok(()),
            Some(difference) => Err(FilerError::Conflict(format!(
                "volume `{}` exists, but {difference}; use another name",
                self.handle
            ))),
        }
    }

    /// # Errors
    /// `InUse` with the names of its snapshots, if there are any.
    pub(crate) fn check_bare(&self, snapshots: &[String]) -> Result<()> {
        if snapshots.is_empty() {
            return Ok(());
        }
        Err(FilerError::InUse(format!(
            "volume `{}` has the snapshots {}; delete them first",
            self.handle,
            snapshots.join(", ")
        )))
    }

    /// By how much it is to grow; `None` if it is that large.
    ///
    /// # Errors
    /// `Invalid` for a smaller size.
    pub(crate) fn growth(&self, size: Bytes) -> Result<Option<Bytes>> {
        if size < self.size {
            return Err(FilerError::Invalid(format!(
                "volume `{}` has {} and cannot shrink to {size}; clone what is needed into a smaller one",
                self.handle, self.size
            )));
        }
        Ok((size > self.size).then(|| size.saturating_sub(self.size)))
    }

    /// The volume, with what is known beside its record.
    pub(crate) fn state(self, served: Served, used: Bytes, exclusive: Bytes) -> VolumeState {
        VolumeState {
            handle: self.handle,
            owner: self.owner,
            name: self.name,
            size: self.size,
            layout: self.layout,
            provisioning: self.provisioning,
            reserved: self.reserved,
            created: self.created,
            source: self.source,
            permits: self.permits,
            staged: self.staged,
            labels: self.labels,
            imported_from: self.imported_from,
            served,
            used,
            exclusive,
        }
    }

    /// The first property in which the existing volume is not the one asked for.
    fn differs_from(&self, wanted: &CreateVolume) -> Option<String> {
        let differs = |what: &str, has: String, asked: String| {
            (has != asked).then(|| format!("{what} is {has}, {asked} was asked for"))
        };
        differs("its name", self.name.clone(), wanted.name.clone())
            .or_else(|| differs("its size", self.size.to_string(), wanted.size.to_string()))
            .or_else(|| differs("its layout", format!("{:?}", self.layout), format!("{:?}", wanted.layout)))
            .or_else(|| {
                differs(
                    "its provisioning",
                    format!("{:?}", self.provisioning),
                    format!("{:?}", wanted.provisioning),
                )
            })
            .or_else(|| differs("its source", format!("{:?}", self.source), format!("{:?}", wanted.source)))
    }
}

impl SnapshotRecord {
    pub(crate) fn absent(handle: &str, name: &str) -> FilerError {
        FilerError::NotFound(format!("volume `{handle}` has no snapshot `{name}`; list its snapshots"))
    }

    pub(crate) fn of(volume: &VolumeRecord, name: &str) -> SnapshotRecord {
        SnapshotRecord { format: FORMAT, name: name.to_owned(), size: volume.size, staged: volume.staged }
    }
}

/// Of two marks of use the one under which less may be formatted.
pub(crate) fn safer(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (None, _) | (_, None) => None,
        (Some(false), Some(false)) => Some(false),
    }
}

fn permits_of_any_format<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<Permit>, D::Error> {
    let mut permits: Vec<Permit> = Vec::<AnyPermit>::deserialize(from)?
        .into_iter()
        .map(|permit| match permit {
            AnyPermit::Name(name) => Permit::shared(NodeIdentity::named(name)),
            AnyPermit::Whole(permit) => permit,
        })
        .collect();
    permits.sort_by(|a, b| a.node.name.cmp(&b.node.name));
    Ok(permits)
}

#[cfg(test)]
mod tests;
