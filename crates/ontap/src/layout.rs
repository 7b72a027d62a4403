//! Where a volume's bytes lie on the array.

mod foreign;
mod known;
mod lun;
mod namespace;
mod qtree;
mod shared;
mod shared_lun;
mod volume;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use driver::DriverError;
use model::{
    AccessMode, Bytes, Filesystem, Handle, InstanceId, Labels, Layout, NodeName, Owner, PoolName,
    Provisioning, VolumeOptions, VolumeSpec, VolumeState,
};

use crate::access::Sound;
use crate::client::Client;
use crate::config::{Choices, Config, Kind, SanType};
use crate::error::CallError;
use crate::tag::{Holds, Tag};
use crate::wire::qtrees::Qtree;
use crate::wire::volumes::Volume;
use crate::wire::{luns, namespaces};

pub(crate) use known::{Known, Seen};
pub(crate) use lun::path as lun_path;
pub(crate) use shared::Shelves;
pub(crate) use shared_lun::of_snapshot;
pub(crate) use volume::{Wanted, decimal};

/// One SVM of one array, with what the backend file says of it.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) client: Client,
    pub(crate) svm: String,
    pub(crate) instance: InstanceId,
    pub(crate) config: Config,
    /// Aggregates of the SVM that may be used, by name.
    pub(crate) aggregates: Vec<String>,
    /// The SVM's iSCSI target.
    pub(crate) target: Option<String>,
    /// Interfaces that carry data and are up.
    pub(crate) data_addresses: Vec<std::net::IpAddr>,
    /// Where its volumes are when nothing says otherwise.
    pub(crate) first_pool: PoolName,
    /// The account is one of the SVM's and cannot see aggregates.
    pub(crate) confined: AtomicBool,
    pub(crate) known: Known,
    pub(crate) shelves: Shelves,
    /// Groups and subsystems of nodes that were found right since the start.
    pub(crate) sound: Sound,
}

/// A volume as the array has it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) handle: Handle,
    pub(crate) tag: Option<Tag>,
    pub(crate) volume: Volume,
    pub(crate) unit: Unit,
}

/// What lies in the volume and is given to nodes.
#[derive(Clone, Debug)]
pub(crate) enum Unit {
    /// Its files.
    Files,
    Lun(luns::Lun),
    Namespace(namespaces::Namespace),
    Qtree(Qtree),
    /// A block volume whose unit is not there: its making has been interrupted.
    Missing,
}

/// Sizes that the array takes.
pub(crate) const GRANULARITY: Bytes = Bytes::kib(4);
pub(crate) const SMALLEST: Bytes = Bytes::mib(20);
/// A FlexGroup's constituents have a least size each.
pub(crate) const SMALLEST_GROUP: Bytes = Bytes::mib(800);
/// A volume around a LUN is this much larger, in percent, for what the array keeps of it.
const AROUND_UNIT: u64 = 10;
/// Characters of a volume's comment.
pub(crate) const COMMENT: usize = 1023;
/// Characters of a LUN's comment.
pub(crate) const COMMENT_OF_LUN: usize = 254;
/// Characters of a qtree's name.
pub(crate) const LONGEST_QTREE: usize = 64;
/// Characters of a volume's name.
pub(crate) const LONGEST_NAME: usize = 203;

impl Array {
    pub(crate) fn error(&self, operation: &'static str) -> impl Fn(CallError) -> DriverError {
        let place = self.client.place().to_owned();
        let keys = self.config.account.keys();
        move |error| {
            let is_unknown = error.refusal().is_some_and(|refusal| refusal.status == 401);
            let mut shown = error.in_operation(operation, &place);
            if is_unknown {
                let hint = format!("; look at {keys} in the backend file, or in the secret that it names");
                shown.message.push_str(&hint);
            }
            shown
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        if self.config.kind.is_nas() { Layout::File } else { Layout::Block }
    }

    /// What a volume of this backend holds.
    pub(crate) fn holds(&self) -> Holds {
        match (self.config.kind, self.config.san) {
            (Kind::Nas, _) => Holds::Files,
            (Kind::NasFlexGroup, _) => Holds::Group,
            (Kind::San, SanType::Iscsi) => Holds::Lun,
            (Kind::San, SanType::Nvme) => Holds::Namespace,
            (Kind::NasEconomy, _) => Holds::Qtree,
            (Kind::SanEconomy, _) => Holds::SharedLun,
        }
    }

    /// Whether it is one of ours whose making was interrupted, a block volume without its LUN for example: no node ever
    /// had it.
    pub(crate) fn is_unmade(&self, found: &Found) -> bool {
        let is_hollow = || {
            matches!(found.unit, Unit::Missing)
                && found.owner(self) == Owner::Ours
                && found.tag.as_ref().is_some_and(|tag| !tag.staged)
        };
        self.is_unmade_qtree(found) || is_hollow()
    }

    pub(crate) fn is_nvme(&self) -> bool {
        self.config.kind == Kind::San && self.config.san == SanType::Nvme
    }
}

impl Found {
    pub(crate) fn owner(&self, array: &Array) -> Owner {
        let (ours, holds) = (&array.instance, array.holds());
        Tag::owner(self.tag.as_ref(), ours, holds)
    }

    /// What users can fill.
    pub(crate) fn size(&self) -> Bytes {
        match &self.unit {
            // What was asked for: the array has rounded up what is around it.
            Unit::Files => self.volume.reserve().within(Bytes::new(self.volume.size)).round_down(GRANULARITY),
            Unit::Lun(lun) => Bytes::new(lun.space.as_ref().map_or(0, |space| space.size)),
            Unit::Namespace(namespace) => Bytes::new(namespace.space.as_ref().map_or(0, |space| space.size)),
            Unit::Qtree(qtree) => Bytes::new(qtree.limit()),
            Unit::Missing => Bytes::ZERO,
        }
    }

    pub(crate) fn state(&self, array: &Array, permitted: BTreeSet<NodeName>) -> VolumeState {
        let pool = self.volume.aggregates.first().and_then(|aggregate| PoolName::new(&aggregate.name).ok());
        let made_as = self.tag.as_ref().and_then(|tag| self.made_as(tag, array));
        let is_unmade = array.is_unmade(self);
        VolumeState {
            handle: self.handle.clone(),
            owner: if is_unmade { Owner::Ours } else { self.owner(array) },
            volume: self.tag.as_ref().map(|tag| tag.volume.clone()),
            pool: self
                .tag
                .as_ref()
                .and_then(|tag| tag.pool.clone())
                .or_else(|| self.shelf().and_then(|shelf| shelf.pool))
                .or(pool.filter(|_| array.config.kind != Kind::NasFlexGroup))
                .unwrap_or_else(|| array.first_pool.clone()),
            size: if is_unmade { Bytes::ZERO } else { self.size() },
            complete: !is_unmade && !self.is_bound(array),
            used: self.used(array),
            layout: array.layout(),
            provisioning: self.provisioning(),
            permitted,
            staged: match array.layout() {
                Layout::Block => Some(self.tag.as_ref().is_none_or(|tag| tag.staged)),
                Layout::File => None,
            },
            created: match &self.unit {
                Unit::Lun(lun) if array.config.kind.is_economy() => lun.create_time,
                Unit::Qtree(_) => None,
                _ => self.volume.create_time,
            },
            made_as,
        }
    }

    fn made_as(&self, tag: &Tag, array: &Array) -> Option<Box<VolumeSpec>> {
        let filesystem = tag.filesystem.filter(|_| tag.spec.is_none());
        let least = filesystem.map(|filesystem| Box::new(self.least(array, Some(filesystem), Labels::new())));
        tag.spec.clone().or(least)
    }

    /// What it is as far as can be seen, when nothing says as what it was made.
    fn least(&self, array: &Array, filesystem: Option<Filesystem>, labels: Labels) -> VolumeSpec {
        VolumeSpec {
            size: self.size(),
            layout: array.layout(),
            filesystem,
            provisioning: self.provisioning(),
            access: match array.layout() {
                Layout::File => AccessMode::ReadWriteMany,
                Layout::Block => AccessMode::ReadWriteOnce,
            },
            class: None,
            source: None,
            options: VolumeOptions::new(),
            mount_options: Vec::new(),
            labels,
        }
    }

    fn provisioning(&self) -> Provisioning {
        if self.volume.is_thick() { Provisioning::Thick } else { Provisioning::Thin }
    }

    /// Whether it is a clone of ours that would depend on its source for good: its split has not begun.
    fn is_bound(&self, array: &Array) -> bool {
        let is_made = self.tag.as_ref().is_some_and(|tag| tag.imported.is_none());
        !array.config.kind.is_economy()
            && is_made
            && self.volume.is_clone()
            && self.owner(array) == Owner::Ours
    }

    fn used(&self, array: &Array) -> Option<Bytes> {
        let used = match &self.unit {
            Unit::Lun(lun) if array.config.kind.is_economy() => lun.space.as_ref()?.used,
            // Only its quota counts it.
            Unit::Qtree(_) => None,
            _ => self.volume.space.as_ref()?.used,
        };
        used.map(Bytes::new)
    }

    /// The export policy that says who may reach it; none where nobody may.
    pub(crate) fn policy(&self) -> Option<&str> {
        match &self.unit {
            Unit::Files => self.volume.policy().filter(|policy| *policy == self.handle.as_str()),
            Unit::Qtree(qtree) => qtree.policy().filter(|_| self.tag.is_some()),
            Unit::Lun(_) | Unit::Namespace(_) | Unit::Missing => None,
        }
    }

    /// What is said of the FlexVol that it shares with others.
    fn shelf(&self) -> Option<Tag> {
        Tag::read(self.volume.comment.as_deref()).filter(|tag| tag.terms.is_some())
    }

    /// What the volume's options were, as far as its comment has room for them.
    pub(crate) fn choices(&self) -> Choices {
        let spec = self.tag.as_ref().and_then(|tag| tag.spec.as_ref());
        spec.and_then(|spec| Choices::of(&spec.options).ok()).unwrap_or_default()
    }
}
