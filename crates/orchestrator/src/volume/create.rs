use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::{
    Bytes, Class, ClassName, Provisioning, Subject, VolumeOption, VolumeOptions, Wishes, is_encrypted_by_node,
};

use super::naming;
use crate::backend::BackendHealth;
use crate::catalogue::Edit;
use crate::drive::is_worth_another_place;
use crate::locks::Lockable;
use crate::operation::Verb;
use crate::orchestrator::Inner;
use crate::placement::{Candidate, Demand, Placement, place, refuse};
use crate::record::{FORMAT, Goal, Origin, VolumeRecord};
use crate::request::{Answer, CreateRequest};
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    pub(crate) async fn create(&self, request: &CreateRequest, operation: &Operation) -> Result<Answer> {
        if let Some(answer) = self.created_already(request, operation).await? {
            return Ok(answer);
        }
        let demand = self.demand(request)?;
        operation.stage("choosing a pool");
        let places = self.places(&demand).await?;
        let mut refusal = None;
        for place in places {
            operation.on(&place.pool.backend);
            match self.create_at(request, place, operation).await {
                Ok(record) => return Ok(Answer::Volume(record)),
                Err(error) if is_worth_another_place(&error) => refusal = Some(error),
                Err(error) => return Err(error),
            }
            if self.writer.catalogue().volume(&request.volume).is_some()
                || self.may_be_elsewhere(&request.volume).await
            {
                // What the failed try left cannot be cleaned up now: no second place under the same name.
                break;
            }
        }
        Err(refusal.unwrap_or_else(|| refuse(&[], &self.outages())))
    }

    /// An equal request before, in this life or an earlier one.
    async fn created_already(
        &self,
        request: &CreateRequest,
        operation: &Operation,
    ) -> Result<Option<Answer>> {
        let Some(record) = self.writer.catalogue().volume(&request.volume) else { return Ok(None) };
        if record.goal == Goal::Gone {
            let driven = self.drive(&record.id, operation).await?;
            return match driven.record {
                None => Ok(None),
                Some(_) => self.existing(&record.id).map(|record| Some(Answer::Volume(record))),
            };
        }
        if let Some(difference) = difference(request, &record) {
            let message = format!("volume `{}` exists and differs: {difference}", record.id);
            return Err(
                Error::new(ErrorKind::Conflict, message).hint("choose another name, or ask for what it is")
            );
        }
        let settled = record.settled;
        match self.drive(&record.id, operation).await {
            Ok(driven) => Ok(driven.record.map(Answer::Volume)),
            Err(error) if !settled => {
                self.undo(&record.id, operation).await;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn create_at(
        &self,
        request: &CreateRequest,
        place: Placement,
        operation: &Operation,
    ) -> Result<Arc<VolumeRecord>> {
        let Placement { pool, mut spec } = place;
        let backend = self.backends.backend(&pool.backend)?;
        let driver = backend.driver(self.patience(Verb::Create)).await?;
        let class = spec.class.as_ref();
        let subject = Subject { volume: &request.volume, labels: &spec.labels, class, pool: &pool };
        // Without a shared store other hosts find a volume by the name that its id has.
        let handle = naming::handle(&*driver, &subject, self.own().is_none())?;
        spec.labels = naming::labels(&subject);
        let (size, provisioning) = (spec.size, spec.provisioning);
        {
            let claim = Lockable::Handle(pool.backend.clone(), handle.clone());
            let _claim = self.locks.exclusive(claim, Verb::Create).await;
            if let Some(other) = self.writer.catalogue().volume_by_handle(&pool.backend, &handle) {
                let message = format!(
                    "volume `{}` would have the name `{handle}` on backend `{}`, which volume `{}` has",
                    request.volume, pool.backend, other.id
                );
                return Err(Error::new(ErrorKind::Conflict, message).hint("choose another name"));
            }
            let record = VolumeRecord {
                format: FORMAT,
                id: request.volume.clone(),
                backend: pool.backend,
                pool: pool.name.clone(),
                handle,
                spec,
                goal: Goal::Exist,
                settled: false,
                origin: Origin::Made,
                published: BTreeMap::new(),
                fenced: BTreeMap::new(),
                made: None,
                staged: false,
                growing: None,
                changing: VolumeOptions::new(),
                restoring: None,
                trouble: None,
                missing: false,
                created: Timestamp::now(),
            };
            self.writer.commit(vec![Edit::PutVolume(Arc::new(record))]).await?;
        }
        match self.drive(&request.volume, operation).await {
            Ok(driven) => {
                backend.spend(&pool.name, size, provisioning);
                driven.record.ok_or_else(|| Error::not_found("volume", &request.volume))
            }
            Err(error) => {
                self.undo(&request.volume, operation).await;
                Err(error)
            }
        }
    }

    /// The caller has been or will be told that it failed: what there is of it shall go.
    pub(crate) async fn undo(&self, id: &model::VolumeId, operation: &Operation) {
        let undone = async {
            if self.own().is_some() {
                // Another host may have found it and told its user that it is made: only the record goes.
                self.drop_records(id).await?;
                return Ok(());
            }
            let record = self.volume(id)?;
            self.edit(&record, |record| record.goal = Goal::Gone).await?;
            self.drive(id, operation).await.map(drop)
        };
        if let Err(error) = undone.await {
            tracing::info!(volume = %id, error = error.sentence(), "cleaning up goes on in the background");
        }
    }

    pub(crate) fn demand(&self, request: &CreateRequest) -> Result<Demand> {
        let catalogue = self.writer.catalogue();
        let mut wishes: Vec<Wishes> = Vec::new();
        let mut mount_options = Vec::new();
        if let Some(name) = &request.class {
            let class = catalogue.class(name).ok_or_else(|| {
                let near =
                    model::nearest(name.as_str(), catalogue.classes().map(|class| class.name.as_str()));
                let error = Error::not_found("class", name);
                match near {
                    Some(near) => error.hint(format!("did you mean `{near}`? see `leister get classes`")),
                    None => error.hint("see `leister get classes`"),
                }
            })?;
            wishes.push(understood(&class)?);
            mount_options.clone_from(&class.mount_options);
        }
        if !request.parameters.is_empty() {
            let own = Class {
                name: ClassName::new("request").map_err(|e| Error::invalid(e.to_string()))?,
                parameters: request.parameters.iter().cloned().collect(),
                mount_options: Vec::new(),
            };
            wishes.push(understood(&own)?);
        }
        mount_options.extend(request.mount_options.iter().cloned());
        let mut demand = Demand {
            size: request.size,
            smallest: None,
            layout: request.layout,
            filesystem: request.filesystem,
            access: request.access,
            provisioning: request.provisioning,
            class: request.class.clone(),
            wishes,
            source: request.source.clone(),
            options: request.options.clone(),
            mount_options,
            labels: request.labels.clone(),
            backend: request.backend.clone(),
            pool: request.pool.clone(),
            topologies: request.topologies.clone(),
        };
        if request.source.is_some() {
            self.follow_source(&mut demand)?;
        }
        Ok(demand)
    }

    /// A clone lives where its source lives, has its layout, and is not smaller.
    fn follow_source(&self, demand: &mut Demand) -> Result<()> {
        let Some(source) = demand.source.clone() else { return Ok(()) };
        let origin = self.existing(&source.volume)?;
        if !origin.settled || origin.missing {
            let message =
                format!("volume `{}` cannot be cloned: it is {}", origin.id, origin.status().as_str());
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let smallest = match &source.snapshot {
            None => origin.spec.size,
            Some(name) => {
                let snapshot = self.snapshot(&source.volume, name)?;
                if snapshot.goal == Goal::Gone || !snapshot.settled {
                    let message =
                        format!("snapshot `{name}` of `{}` is {}", origin.id, snapshot.status().as_str());
                    return Err(Error::new(ErrorKind::Busy, message));
                }
                snapshot.size
            }
        };
        if let Some(size) = demand.size.filter(|size| *size < smallest) {
            let message = format!("size {size} is smaller than the source's {smallest}");
            return Err(
                Error::invalid(message).hint(format!("ask for {smallest} or more, or leave the size out"))
            );
        }
        if let Some(backend) = demand.backend.as_ref().filter(|backend| **backend != origin.backend) {
            let message =
                format!("backend `{backend}` was asked for, but the source is on `{}`", origin.backend);
            return Err(Error::invalid(message));
        }
        let differs = demand.layout.is_some_and(|layout| layout != origin.spec.layout)
            || demand.filesystem.is_some_and(|filesystem| Some(filesystem) != origin.spec.filesystem);
        if differs {
            return Err(Error::invalid("a clone has the layout and file system of its source")
                .hint("leave layout and fileSystemType out"));
        }
        let asked = demand.options.contains_key(&VolumeOption::LuksEncryption);
        if asked && is_encrypted_by_node(&demand.options) != is_encrypted_by_node(&origin.spec.options) {
            return Err(Error::invalid("a clone is encrypted by the node if its source is, and only then")
                .hint("leave LUKSEncryption out"));
        }
        demand.smallest = Some(smallest);
        demand.layout = Some(origin.spec.layout);
        demand.filesystem = origin.spec.filesystem;
        demand.access.get_or_insert(origin.spec.access);
        demand
            .provisioning
            .get_or_insert_with(|| inherited(demand.wishes.as_slice(), origin.spec.provisioning));
        demand.backend = Some(origin.backend.clone());
        demand.pool.get_or_insert_with(|| origin.pool.clone());
        for (option, value) in &origin.spec.options {
            demand.options.entry(*option).or_insert_with(|| value.clone());
        }
        Ok(())
    }

    /// Places in order. What is known of the pools' space may be old: before a refusal they are asked again.
    async fn places(&self, demand: &Demand) -> Result<Vec<Placement>> {
        if let Ok(places) = place(demand, &self.candidates(demand)) {
            return Ok(places);
        }
        let backends = self.backends.all();
        let asked = backends.values().map(async |backend| {
            backend.driver(self.settings.periods.opening).await.ok()?;
            backend.refresh().await.inspect_err(|error| tracing::debug!(%error, "cannot ask for pools")).ok()
        });
        futures::future::join_all(asked).await;
        place(demand, &self.candidates(demand)).map_err(|refusals| refuse(&refusals, &self.outages()))
    }

    /// What is wrong with backends that cannot be asked.
    fn outages(&self) -> Vec<String> {
        let backends = self.backends.all();
        let away = backends.values().map(|backend| (&backend.name, backend.health()));
        away.filter(|(_, health)| !matches!(**health, BackendHealth::Online))
            .map(|(name, health)| {
                let reason = health.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
                format!("backend `{name}` is {}{reason}", health.as_str())
            })
            .collect()
    }

    fn candidates(&self, demand: &Demand) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for backend in self.backends.all().values() {
            let obstacle = if backend.is_suspended() {
                Some("its backend is suspended (userState)".to_owned())
            } else if let Some(reason) = backend.health().reason() {
                Some(format!("its backend is {}: {reason}", backend.health().as_str()))
            } else if demand.source.is_some() && !backend.capabilities().clones {
                Some("its backend cannot clone".to_owned())
            } else {
                None
            };
            let pools = backend.pools();
            candidates.extend(
                pools.iter().map(|pool| Candidate { pool: pool.clone(), obstacle: obstacle.clone() }),
            );
        }
        candidates
    }
}

fn understood(class: &Class) -> Result<Wishes> {
    class.wishes().map_err(|error| Error::invalid(error.to_string()))
}

fn inherited(wishes: &[Wishes], source: Provisioning) -> Provisioning {
    wishes.iter().rev().find_map(Wishes::provisioning).unwrap_or(source)
}

/// What an existing volume lacks to be the one asked for.
fn difference(request: &CreateRequest, record: &VolumeRecord) -> Option<String> {
    let spec = &record.spec;
    let rounded = |size: Bytes| size <= spec.size;
    if let Some(size) =
        request.size.filter(|size| !rounded(*size) || (*size < spec.size && !is_rounding(*size, spec.size)))
    {
        return Some(format!("its size is {}, {size} were asked for", spec.size));
    }
    if request.class.is_some() && request.class != spec.class {
        let class = spec.class.as_ref().map_or("none", |class| class.as_str());
        return Some(format!("its class is {class}"));
    }
    if request.source != spec.source {
        return Some(match &spec.source {
            Some(source) => format!("it is a clone of `{}`", source.volume),
            None => "it is not a clone".to_owned(),
        });
    }
    if request.layout.is_some_and(|layout| layout != spec.layout) {
        return Some(format!("its layout is {}", spec.layout));
    }
    if request.filesystem.is_some() && request.filesystem != spec.filesystem {
        let filesystem = spec.filesystem.map_or("none", |filesystem| filesystem.as_str());
        return Some(format!("its file system is {filesystem}"));
    }
    if request.provisioning.is_some_and(|provisioning| provisioning != spec.provisioning) {
        return Some(format!("its provisioning is {}", spec.provisioning));
    }
    if request.backend.as_ref().is_some_and(|backend| *backend != record.backend) {
        return Some(format!("it is on backend `{}`", record.backend));
    }
    None
}

/// Whether the difference is no more than what a backend rounds sizes up by.
fn is_rounding(asked: Bytes, has: Bytes) -> bool {
    has - asked < Bytes::gib(1) && (has - asked).get() < asked.get() / 64 + Bytes::mib(4).get()
}
