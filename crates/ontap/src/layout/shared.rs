//! FlexVols that many volumes share. One is made when none has room, grows with what lies in it, and stays when it is
//! empty: whether somebody is about to use it cannot be seen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use driver::{DriverError, ErrorKind, Result};
use model::{Bytes, Handle, VolumeId};
use tokio::sync::MutexGuard;

use super::{Array, COMMENT, GRANULARITY, SMALLEST, Unit, Wanted};
use crate::client;
use crate::config::Choices;
use crate::tag::{Holds, Tag};
use crate::wire::volumes::{self, Change, Enabled, Nas, NewSpace, NewVolume, SnapshotSpace, Tiering, Volume};
use crate::wire::{Named, luns, qtrees, quotas};

/// What is known of them, and the turn of whoever looks for room.
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    turn: tokio::sync::Mutex<()>,
    seen: Mutex<HashMap<String, Volume>>,
}

/// What lies in one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) count: usize,
    pub(super) bytes: u64,
}

impl Array {
    /// Until it is given back, nobody else of this process takes room.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.shelves.turn.lock().await
    }

    /// FlexVols by UUID; asked for only when one is not known yet.
    pub(super) async fn shelves_of(&self, uuids: Vec<String>) -> client::Result<HashMap<String, Volume>> {
        let known = || self.shelves.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<String> = uuids.into_iter().filter(|uuid| !known().contains_key(uuid)).collect();
        missing.sort_unstable();
        missing.dedup();
        for some in missing.chunks(50) {
            let read = volumes::these(&self.client, &self.svm, some).await?;
            known().extend(read.into_iter().map(|volume| (volume.uuid.clone(), volume)));
        }
        let all = known().clone();
        Ok(all)
    }

    /// A FlexVol with room for one more, made or enlarged as need be.
    ///
    /// # Behavior
    /// To be called in one's [`turn`](Array::turn).
    pub(super) async fn room(
        &self,
        wanted: &Wanted<'_>,
        choices: &Choices,
        loads: &HashMap<String, Load>,
        operation: &'static str,
    ) -> Result<Volume> {
        let more = wanted.spec.size.round_up(GRANULARITY).get();
        let terms = terms(wanted, choices);
        let fits = |volume: &&Volume| {
            let tag = Tag::read(volume.comment.as_deref());
            let load = loads.get(&volume.name).copied().unwrap_or_default();
            let at_home =
                volume.aggregates.first().is_some_and(|at| Some(at.name.as_str()) == wanted.aggregate);
            at_home
                && tag.is_some_and(|tag| tag.terms.as_deref() == Some(&terms))
                && load.count < self.config.shared.most
                && self.is_within_limit(self.around(load.bytes + more, volume.reserve()))
        };
        let shelves = self.list_shelves().await.map_err(self.error(operation))?;
        if let Some(volume) = shelves.iter().find(fits) {
            let load = loads.get(&volume.name).copied().unwrap_or_default();
            self.widen(volume, load.bytes + more, operation).await?;
            if self.config.kind.is_nas() {
                self.turn_quotas_on(volume).await.map_err(self.error(operation))?;
            }
            return Ok(volume.clone());
        }
        let size = self.around(more, choices.reserve()).max(SMALLEST);
        if !self.is_within_limit(size) {
            return Err(self.past_limit(size, operation));
        }
        if self.config.shared.deny_new {
            let message = format!(
                "none of {} shared FlexVols has room for {} more, and `denyNewVolumePools` of the backend file \
                 forbids another one",
                shelves.len(),
                wanted.spec.size
            );
            return Err(DriverError::new(ErrorKind::NoCapacity, operation, message));
        }
        self.make_shelf(wanted, choices, terms, size, operation).await
    }

    /// Enlarges a shared FlexVol so that it has room for `bytes`; what is not ours stays as it is.
    pub(super) async fn widen(&self, volume: &Volume, bytes: u64, operation: &'static str) -> Result<()> {
        let is_ours = Tag::read(volume.comment.as_deref())
            .is_some_and(|tag| tag.instance == self.instance && tag.terms.is_some());
        let size = self.around(bytes, volume.reserve());
        if !is_ours || size.get() <= volume.size {
            return Ok(());
        }
        if !self.is_within_limit(size) {
            return Err(self.past_limit(size, operation));
        }
        let change = Change { size: Some(size.get()), ..Change::default() };
        volumes::change(&self.client, &volume.uuid, &change).await.map_err(self.error(operation))
    }

    /// What lies in the shared FlexVols, by their names.
    pub(super) async fn loads(&self) -> client::Result<HashMap<String, Load>> {
        let pattern = format!("{}{}_pool_*", self.config.prefix, self.shelf_word());
        let mut loads: HashMap<String, Load> = HashMap::new();
        let mut add = |volume: &str, bytes: u64| {
            let load = loads.entry(volume.to_owned()).or_default();
            load.count += 1;
            load.bytes += bytes;
        };
        if self.config.kind.is_nas() {
            for rule in quotas::list(&self.client, &self.svm, &[("volume.name", &pattern)]).await? {
                if !rule.is_default() {
                    add(&rule.volume.name, rule.limit());
                }
            }
        } else {
            for lun in luns::list(&self.client, &self.svm, &format!("/vol/{pattern}")).await? {
                if let Some(volume) = lun.name.split('/').nth(2) {
                    add(volume, lun.size());
                }
            }
        }
        Ok(loads)
    }

    /// Two that make a volume of one name at the same moment, in different FlexVols, see each other: whoever sees
    /// another takes its own back, which lies in the FlexVol `own`.
    pub(super) async fn refuse_twin(
        &self,
        handle: &Handle,
        own: &str,
        operation: &'static str,
    ) -> Result<()> {
        let fail = self.error(operation);
        let all = match self.config.kind.is_nas() {
            true => self.qtrees_called(handle.as_str()).await.map_err(&fail)?,
            false => self.luns_called(handle.as_str()).await.map_err(&fail)?,
        };
        if all.iter().all(|found| found.volume.uuid == own) {
            return Ok(());
        }
        for found in all.iter().filter(|found| found.volume.uuid == own) {
            match &found.unit {
                Unit::Lun(lun) => luns::delete(&self.client, &lun.uuid).await.map_err(&fail)?,
                Unit::Qtree(qtree) => qtrees::delete(&self.client, qtree).await.map_err(&fail)?,
                Unit::Files | Unit::Namespace(_) | Unit::Missing => {}
            }
        }
        let message = format!("`{handle}` is being made by somebody else at this moment");
        Err(DriverError::new(ErrorKind::Busy, operation, message))
    }

    /// Quotas count once there is a rule for all qtrees, without a limit, and they are turned on.
    async fn turn_quotas_on(&self, volume: &Volume) -> client::Result<()> {
        if volume.counts_quotas() {
            return Ok(());
        }
        match quotas::create(&self.client, &self.svm, &volume.uuid, "", -1).await {
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
            _ => {}
        }
        let on = Change { quota: Some(Enabled { enabled: true }), ..Change::default() };
        volumes::change(&self.client, &volume.uuid, &on).await
    }

    async fn make_shelf(
        &self,
        wanted: &Wanted<'_>,
        choices: &Choices,
        terms: String,
        size: Bytes,
        operation: &'static str,
    ) -> Result<Volume> {
        let fail = self.error(operation);
        let tag = Tag {
            instance: self.instance.clone(),
            volume: VolumeId::new("shared")
                .map_err(|e| DriverError::new(ErrorKind::Internal, operation, e.to_string()))?,
            holds: Some(self.shelf()),
            pool: Some(wanted.pool.clone()),
            staged: false,
            imported: None,
            terms: Some(terms),
            spec: None,
            filesystem: None,
        };
        let name = format!("{}{}_pool_{:08x}", self.config.prefix, self.shelf_word(), fastrand::u32(..));
        let volume = NewVolume {
            name: name.clone(),
            svm: Named::new(&self.svm),
            comment: tag.write(&model::Labels::new(), COMMENT, operation)?,
            size: Some(size.get()),
            style: Some("flexvol"),
            aggregates: wanted.aggregate.map(Named::new).into_iter().collect(),
            guarantee: Some(super::volume::guarantee(wanted.spec.provisioning)),
            snapshot_policy: Some(Named::new(choices.snapshot_policy.as_deref().unwrap_or("none"))),
            snapshot_directory_access_enabled: Some(choices.snapshot_dir),
            space: Some(NewSpace { snapshot: SnapshotSpace { reserve_percent: choices.reserve().0 } }),
            encryption: choices.encryption.map(|enabled| Enabled { enabled }),
            tiering: choices.tiering_policy.map(|policy| Tiering { policy }),
            nas: self.config.kind.is_nas().then(|| Nas {
                path: Some(format!("/{name}")),
                export_policy: Some(Named::new(self.doors())),
                security_style: Some("unix".to_owned()),
                // Through it, and not into it.
                unix_permissions: Some(711),
            }),
            ..NewVolume::default()
        };
        volumes::create(&self.client, &volume).await.map_err(&fail)?;
        let made = volumes::find(&self.client, &self.svm, &name).await.map_err(&fail)?;
        let made = made.ok_or_else(|| {
            let message = format!("the shared FlexVol `{name}` vanished while it was being made");
            DriverError::new(ErrorKind::Busy, operation, message)
        })?;
        if self.config.kind.is_nas() {
            self.turn_quotas_on(&made).await.map_err(fail)?;
        }
        Ok(made)
    }

    async fn list_shelves(&self) -> client::Result<Vec<Volume>> {
        let pattern = format!("*\"instance\":\"{}\"*\"terms\"*", self.instance);
        let mut all = match self.config.kind.is_nas() {
            true => volumes::with_quotas(&self.client, &self.svm, &pattern).await?,
            false => volumes::list(&self.client, &self.svm, &pattern).await?,
        };
        all.retain(|volume| {
            volume.name.starts_with(&self.config.prefix)
                && Tag::read(volume.comment.as_deref())
                    .is_some_and(|tag| tag.instance == self.instance && tag.holds == Some(self.shelf()))
        });
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn shelf(&self) -> Holds {
        if self.config.kind.is_nas() { Holds::Qtrees } else { Holds::Luns }
    }

    fn shelf_word(&self) -> &'static str {
        if self.config.kind.is_nas() { "qtree" } else { "lun" }
    }

    fn around(&self, bytes: u64, reserve: crate::config::Reserve) -> Bytes {
        reserve.around(self.around_unit(Bytes::new(bytes))).round_up(GRANULARITY)
    }

    fn is_within_limit(&self, size: Bytes) -> bool {
        self.config.shared.limit.is_none_or(|limit| size <= limit)
    }

    fn past_limit(&self, size: Bytes, operation: &'static str) -> DriverError {
        let limit = self.config.shared.limit.unwrap_or_default();
        let message = format!(
            "a shared FlexVol of {size} would be past `limitVolumePoolSize` {limit} of the backend file"
        );
        DriverError::new(ErrorKind::NoCapacity, operation, message)
    }
}

/// What volumes in one FlexVol have in common.
fn terms(wanted: &Wanted<'_>, choices: &Choices) -> String {
    format!(
        "{} {} {} {} {} {} {}",
        wanted.pool,
        wanted.spec.provisioning,
        choices.snapshot_policy.as_deref().unwrap_or("none"),
        choices.reserve().0,
        choices.snapshot_dir,
        choices.encryption.map_or("array", |encrypted| if encrypted { "encrypted" } else { "plain" }),
        choices.tiering_policy.unwrap_or("array"),
    )
}
