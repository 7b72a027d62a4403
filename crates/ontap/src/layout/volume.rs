//! A FlexVol or FlexGroup for each volume.

use std::collections::HashMap;

use driver::{DriverError, ErrorKind, Result};
use model::{Bytes, Handle, Labels, Layout, Owner, PoolName, Provisioning, VolumeId, VolumeSpec};

use super::{AROUND_UNIT, Array, COMMENT, COMMENT_OF_LUN, Found, GRANULARITY, Unit};
use crate::access::nfs;
use crate::client;
use crate::config::{Choices, Kind};
use crate::error::EXISTS;
use crate::tag::Tag;
use crate::wire::volumes::{
    self, Change, Enabled, Guarantee, Nas, NewSpace, NewVolume, Parent, Qos, SnapshotSpace, Split, Tiering,
    Volume,
};
use crate::wire::{Named, luns};

/// A volume to be made.
pub(crate) struct Wanted<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) id: &'a VolumeId,
    pub(crate) spec: &'a VolumeSpec,
    /// What users see as its pool.
    pub(crate) pool: &'a PoolName,
    pub(crate) aggregate: Option<&'a str>,
}

impl Array {
    pub(crate) async fn find(&self, handle: &Handle) -> client::Result<Option<Found>> {
        let found = match self.config.kind {
            Kind::NasEconomy | Kind::SanEconomy => self.find_shared(handle.as_str()).await?,
            Kind::Nas | Kind::NasFlexGroup | Kind::San => self.find_own(handle).await?,
        };
        match &found {
            Some(found) if found.owner(self) == Owner::Ours => self.known.note(found),
            _ => self.known.forget(handle),
        }
        Ok(found)
    }

    /// A volume that has a FlexVol or FlexGroup of its own.
    async fn find_own(&self, handle: &Handle) -> client::Result<Option<Found>> {
        let Some(volume) = volumes::find(&self.client, &self.svm, handle.as_str()).await? else {
            return Ok(None);
        };
        let unit = match self.layout() {
            Layout::File => Unit::Files,
            Layout::Block if self.is_nvme() => self.find_namespace(handle).await?,
            Layout::Block => self.find_lun(handle).await?,
        };
        Ok(Some(found(handle.clone(), volume, unit)))
    }

    pub(crate) async fn list(&self) -> client::Result<Vec<Found>> {
        let all = match self.config.kind {
            Kind::NasEconomy => self.list_qtrees().await?,
            Kind::SanEconomy => self.list_shared_luns().await?,
            Kind::Nas | Kind::NasFlexGroup | Kind::San => self.list_own().await?,
        };
        self.known.replace(&all);
        Ok(all)
    }

    /// Every volume with our tag: one paged call, and one for the units of block volumes.
    async fn list_own(&self) -> client::Result<Vec<Found>> {
        let pattern = format!("*\"instance\":\"{}\"*", self.instance);
        let mut volumes = volumes::list(&self.client, &self.svm, &pattern).await?;
        // The pattern finds candidates; tag and prefix decide.
        volumes.retain(|volume| {
            volume.name.starts_with(&self.config.prefix)
                && Tag::read(volume.comment.as_deref())
                    .is_some_and(|tag| tag.is_of(&self.instance, self.holds()))
        });
        let mut units = match self.layout() {
            Layout::File => HashMap::new(),
            Layout::Block if self.is_nvme() => self.list_namespaces().await?,
            Layout::Block => self.list_luns().await?,
        };
        let with_unit = |volume: Volume| {
            let unit = match self.layout() {
                Layout::File => Unit::Files,
                Layout::Block => units.remove(&volume.name).unwrap_or(Unit::Missing),
            };
            whole(volume, unit)
        };
        Ok(volumes.into_iter().filter_map(with_unit).collect())
    }

    /// # Behavior
    /// `Ok(false)`: there is one of this name already.
    pub(crate) async fn make(&self, wanted: &Wanted<'_>, operation: &'static str) -> Result<bool> {
        let spec = wanted.spec;
        let choices = self.choices(spec, operation)?;
        let reserve = choices.reserve();
        let size = reserve.around(self.around_unit(spec.size.round_up(GRANULARITY))).round_up(GRANULARITY);
        let volume = NewVolume {
            name: wanted.handle.to_string(),
            svm: Named::new(&self.svm),
            comment: self.comment(wanted, false, operation)?,
            size: Some(size.get()),
            style: Some(if self.config.kind == Kind::NasFlexGroup { "flexgroup" } else { "flexvol" }),
            aggregates: match wanted.aggregate {
                Some(aggregate) => vec![Named::new(aggregate)],
                None => self.aggregates.iter().map(Named::new).collect(),
            },
            constituents_per_aggregate: (self.config.kind == Kind::NasFlexGroup).then_some(4),
            guarantee: Some(guarantee(spec.provisioning)),
            snapshot_policy: Some(Named::new(choices.snapshot_policy.as_deref().unwrap_or("none"))),
            snapshot_directory_access_enabled: Some(choices.snapshot_dir),
            space: Some(NewSpace { snapshot: SnapshotSpace { reserve_percent: reserve.0 } }),
            encryption: choices.encryption.map(|enabled| Enabled { enabled }),
            qos: choices.qos_policy.as_deref().map(|policy| Qos { policy: Named::new(policy) }),
            tiering: choices.tiering_policy.map(|policy| Tiering { policy }),
            nas: self.nas(wanted.handle, &choices),
            clone: None,
        };
        match volumes::create(&self.client, &volume).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(EXISTS) => Ok(false),
            Err(error) => Err(self.error(operation)(error)),
        }
    }

    /// # Behavior
    /// `Ok(false)`: there is one of this name already.
    pub(crate) async fn make_clone(
        &self,
        wanted: &Wanted<'_>,
        source: &Handle,
        snapshot: Option<&str>,
        staged: bool,
        operation: &'static str,
    ) -> Result<bool> {
        let choices = self.choices(wanted.spec, operation)?;
        let clone = NewVolume {
            name: wanted.handle.to_string(),
            svm: Named::new(&self.svm),
            comment: self.comment(wanted, staged, operation)?,
            guarantee: Some(guarantee(wanted.spec.provisioning)),
            snapshot_policy: Some(Named::new(choices.snapshot_policy.as_deref().unwrap_or("none"))),
            snapshot_directory_access_enabled: Some(choices.snapshot_dir),
            qos: choices.qos_policy.as_deref().map(|policy| Qos { policy: Named::new(policy) }),
            tiering: choices.tiering_policy.map(|policy| Tiering { policy }),
            nas: self.nas(wanted.handle, &choices).map(|nas| Nas { unix_permissions: None, ..nas }),
            clone: Some(Parent {
                is_flexclone: true,
                parent_volume: Named::new(source.as_str()),
                parent_snapshot: snapshot.map(Named::new),
            }),
            ..NewVolume::default()
        };
        match volumes::create(&self.client, &clone).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(EXISTS) => Ok(false),
            Err(error) => Err(self.error(operation)(error)),
        }
    }

    /// Makes a clone independent of what it was made from.
    pub(crate) async fn split(&self, volume: &Volume) -> client::Result<()> {
        let split = Change { clone: Some(Split { split_initiated: true }), ..Change::default() };
        volumes::change(&self.client, &volume.uuid, &split).await
    }

    /// The volume around `size` bytes for users: never smaller than it is.
    pub(crate) async fn enlarge(&self, volume: &Volume, size: Bytes) -> client::Result<()> {
        let around = volume.reserve().around(self.around_unit(size));
        if around.get() <= volume.size {
            return Ok(());
        }
        let change = Change { size: Some(around.get()), ..Change::default() };
        volumes::change(&self.client, &volume.uuid, &change).await
    }

    /// Takes a volume out of the SVM's tree: the array deletes none that is seen there.
    pub(crate) async fn unmount(&self, volume: &Volume) -> client::Result<()> {
        let nas = Nas { path: Some(String::new()), ..Nas::default() };
        volumes::change(&self.client, &volume.uuid, &Change { nas: Some(nas), ..Change::default() }).await
    }

    /// Changes what the comment says of staging.
    pub(crate) async fn retag(&self, found: &Found, staged: bool, operation: &'static str) -> Result<()> {
        let Some(tag) = found.tag.clone().map(|tag| Tag { staged, ..tag }) else { return Ok(()) };
        let labels = tag.spec.as_ref().map(|spec| spec.labels.clone()).unwrap_or_default();
        if let (true, Unit::Lun(lun)) = (self.config.kind.is_economy(), &found.unit) {
            let comment = tag.write(&labels, COMMENT_OF_LUN, operation)?;
            let change = luns::Change { comment: Some(comment), ..luns::Change::default() };
            return luns::change(&self.client, &lun.uuid, &change).await.map_err(self.error(operation));
        }
        let comment = Some(tag.write(&labels, COMMENT, operation)?);
        let change = Change { comment, ..Change::default() };
        volumes::change(&self.client, &found.volume.uuid, &change).await.map_err(self.error(operation))
    }

    /// Puts our tag and its new name on a volume of nobody's.
    pub(crate) async fn take_over(
        &self,
        volume: &Volume,
        tag: &Tag,
        labels: &Labels,
        handle: &Handle,
        operation: &'static str,
    ) -> Result<()> {
        let change = Change {
            name: (volume.name != handle.as_str()).then(|| handle.to_string()),
            comment: Some(tag.write(labels, COMMENT, operation)?),
            nas: self.config.kind.is_nas().then(|| Nas {
                path: Some(nfs::junction(handle)),
                export_policy: Some(Named::new(self.empty_policy())),
                ..Nas::default()
            }),
            ..Change::default()
        };
        volumes::change(&self.client, &volume.uuid, &change).await.map_err(self.error(operation))
    }

    pub(crate) fn choices(&self, spec: &VolumeSpec, operation: &'static str) -> Result<Choices> {
        if let Some(option) = spec.options.keys().find(|option| !self.config.kind.accepts().contains(option))
        {
            let message = format!("driver `{}` has no option {option}", self.config.kind.name());
            return Err(DriverError::new(ErrorKind::Unsupported, operation, message));
        }
        Choices::of(&spec.options).map_err(|(option, problem)| {
            DriverError::new(ErrorKind::Invalid, operation, format!("{option}: {problem}"))
        })
    }

    pub(super) fn tag(&self, wanted: &Wanted<'_>, staged: bool) -> Tag {
        Tag {
            instance: self.instance.clone(),
            volume: wanted.id.clone(),
            holds: Some(self.holds()),
            pool: (wanted.aggregate != Some(wanted.pool.as_str())).then(|| wanted.pool.clone()),
            staged,
            imported: None,
            terms: None,
            spec: Some(Box::new(wanted.spec.clone())),
            filesystem: None,
        }
    }

    fn comment(&self, wanted: &Wanted<'_>, staged: bool, operation: &'static str) -> Result<String> {
        self.tag(wanted, staged).write(&wanted.spec.labels, COMMENT, operation)
    }

    fn nas(&self, handle: &Handle, choices: &Choices) -> Option<Nas> {
        self.config.kind.is_nas().then(|| Nas {
            path: Some(nfs::junction(handle)),
            export_policy: Some(Named::new(self.empty_policy())),
            security_style: choices.security_style.map(str::to_owned),
            unix_permissions: Some(decimal(choices.unix_permissions.unwrap_or(0o777))),
        })
    }

    pub(crate) fn around_unit(&self, size: Bytes) -> Bytes {
        match self.layout() {
            Layout::File => size,
            Layout::Block => size + Bytes::new(size.get().div_ceil(100).saturating_mul(AROUND_UNIT)),
        }
    }
}

pub(super) fn found(handle: Handle, volume: Volume, unit: Unit) -> Found {
    Found { handle, tag: Tag::read(volume.comment.as_deref()), volume, unit }
}

/// A volume whose name is not one of ours cannot carry our tag.
fn whole(volume: Volume, unit: Unit) -> Option<Found> {
    Some(found(Handle::new(&volume.name).ok()?, volume, unit))
}

pub(super) fn guarantee(provisioning: Provisioning) -> Guarantee {
    let kind = match provisioning {
        Provisioning::Thin => "none",
        Provisioning::Thick => "volume",
    };
    Guarantee { kind: kind.to_owned() }
}

/// The array writes a mode's octal digits as if they were decimal ones.
pub(crate) fn decimal(mode: u32) -> u32 {
    (0..4).rev().fold(0, |number, place| number * 10 + (mode >> (3 * place) & 7))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mode_keeps_its_digits() {
        for (mode, shown) in [(0o777, 777), (0o750, 750), (0o1777, 1777), (0, 0), (0o5, 5)] {
            assert_eq!(super::decimal(mode), shown);
        }
    }
}
