//! Sees to it that backends are as objects say, and tells what came of that.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use model::BackendName;
use orchestrator::{BackendFile, BackendOrigin, Orchestrator, VolumeRecord};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::declaration::Declaration;
use super::definitions::Kind;
use super::status::{Outcome, POOLS};
use crate::{is_listed, within};

/// Reads the objects of a namespace, and keeps backends and `status` as they ask.
///
/// # Behavior
/// The first of several objects for one backend defines it; the others say so.
pub struct Keeper {
    client: Client,
    namespace: String,
    kinds: Vec<Kind>,
    check: fn(&BackendFile) -> Result<(), String>,
    /// What each object has defined, for when it is gone.
    defined: BTreeMap<String, BackendName>,
    /// Of each object, by its uid: what it said when it could not be had, when that was, and why.
    refused: HashMap<String, Refused>,
    /// What was written last to each, and when: a cluster that keeps a part of it is not told again and again.
    told: HashMap<String, (Instant, Value)>,
}

struct Refused {
    generation: i64,
    at: Instant,
    problem: String,
}

const OWNER: &str = "leister";
/// Health and space change by themselves.
const LOOKED_AT: Duration = Duration::from_secs(2);
const TRIED_AGAIN: Duration = Duration::from_secs(30);
const MEASURED: Duration = Duration::from_secs(60);

impl Keeper {
    /// Of a namespace; Trident's objects too, if they are wanted. `check` says what can be said of a file without opening
    /// its backend.
    pub fn new(
        client: Client,
        namespace: &str,
        trident: bool,
        check: fn(&BackendFile) -> Result<(), String>,
    ) -> Keeper {
        let kinds = [Some(Kind::Backend), trident.then_some(Kind::Trident)];
        Keeper {
            client,
            namespace: namespace.to_owned(),
            kinds: kinds.into_iter().flatten().collect(),
            check,
            defined: BTreeMap::new(),
            refused: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Works until `shutdown` ends.
    pub async fn serve(mut self, orchestrator: Orchestrator, shutdown: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = self.work(&orchestrator) => {}
            () = shutdown => {}
        }
    }

    async fn work(&mut self, orchestrator: &Orchestrator) {
        let watched = self.kinds.iter().map(|kind| (*kind, watch(self.api(*kind), *kind)));
        let (stores, changes): (Vec<_>, Vec<_>) =
            watched.map(|(kind, (store, changes))| ((kind, store), changes)).unzip();
        let mut changes = futures::stream::select_all(changes);
        let mut ticks = tokio::time::interval(LOOKED_AT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.next() => if change.is_none() { return },
                _ = ticks.tick() => {}
            }
            let listed = stores.iter().all(|(_, store)| is_listed(store));
            if listed {
                self.tend(orchestrator, &stores).await;
            }
        }
    }

    async fn tend(&mut self, orchestrator: &Orchestrator, stores: &[(Kind, Store<DynamicObject>)]) {
        let mut objects: Vec<_> = stores
            .iter()
            .flat_map(|(kind, store)| store.state().into_iter().map(|object| (*kind, object)))
            .collect();
        objects.sort_by_key(|(_, object)| (object.creation_timestamp(), object.name_any()));
        let mut there = Vec::new();
        for (kind, object) in &objects {
            let declaration = Declaration::read(*kind, object, self.check);
            there.push(declaration.object.clone());
            if let Err(error) = self.tend_one(orchestrator, object, &declaration).await {
                tracing::warn!(object = declaration.object, %error, "cannot be written; it is tried again");
            }
        }
        let ids: Vec<String> = objects.iter().filter_map(|(_, object)| object.uid()).collect();
        self.refused.retain(|id, _| ids.contains(id));
        self.told.retain(|id, _| ids.contains(id));
        let gone: Vec<_> = self.defined.keys().filter(|object| !there.contains(object)).cloned().collect();
        for object in gone {
            let Some(name) = self.defined.remove(&object) else { continue };
            if let Err(error) = orchestrator.withdraw_backend(&name, &object) {
                tracing::warn!(object, error = error.sentence(), "is gone; its backend goes on");
            }
        }
    }

    async fn tend_one(
        &mut self,
        orchestrator: &Orchestrator,
        object: &DynamicObject,
        declaration: &Declaration,
    ) -> kube::Result<()> {
        let problem = self.declare(orchestrator, declaration).await;
        if !orchestrator.leadership().leads {
            return Ok(());
        }
        let named = declaration.backend();
        let view = match named {
            Some(name) => orchestrator.backend(name).await.ok().flatten(),
            None => None,
        };
        let ours = BackendOrigin::Declared(declaration.object.clone());
        let (view, backend) = match view {
            Some(view) if view.origin == ours => (Some(view), named),
            // Something else defines it.
            Some(_) => (None, None),
            // It may have volumes, though what it says now cannot be had.
            None => (None, declaration.known.as_ref()),
        };
        let is_on_it = |record: &&Arc<VolumeRecord>| Some(&record.backend) == backend;
        let volumes = orchestrator.catalogue().volumes().filter(is_on_it).count();
        let status = Outcome { backend, view: view.as_ref(), volumes, problem }.status(declaration);
        self.tell(declaration, object, status).await
    }

    /// Why it is not as the object says.
    async fn declare(&mut self, orchestrator: &Orchestrator, declaration: &Declaration) -> Option<String> {
        let file = match &declaration.file {
            Ok(file) => file,
            Err(problem) => return Some(problem.clone()),
        };
        let object = &declaration.object;
        if let Some(refused) = self.refused.get(&declaration.uid)
            && refused.generation == declaration.generation
            && refused.at.elapsed() < TRIED_AGAIN
        {
            return Some(refused.problem.clone());
        }
        match orchestrator.declare_backend(file.clone(), object).await {
            Ok(()) => {
                self.refused.remove(&declaration.uid);
                self.defined.insert(object.clone(), file.name().clone());
                None
            }
            Err(error) => {
                let refused = Refused {
                    generation: declaration.generation,
                    at: Instant::now(),
                    problem: error.sentence(),
                };
                tracing::warn!(object, problem = refused.problem, "a declared backend is refused");
                let problem = refused.problem.clone();
                self.refused.insert(declaration.uid.clone(), refused);
                Some(problem)
            }
        }
    }

    /// Writes what has changed; the space of pools now and then.
    async fn tell(
        &mut self,
        declaration: &Declaration,
        object: &DynamicObject,
        status: Value,
    ) -> kube::Result<()> {
        let but_pools = |status: &Value| {
            let mut status = status.clone();
            status[POOLS] = Value::Null;
            status
        };
        let is_recent = |(at, told): &(Instant, Value)| {
            let had_pools = told[POOLS].as_array().is_some_and(|pools| !pools.is_empty());
            at.elapsed() < MEASURED && (*told == status || had_pools && but_pools(told) == but_pools(&status))
        };
        if status == declaration.status || self.told.get(&declaration.uid).is_some_and(is_recent) {
            return Ok(());
        }
        let patch = json!({ "status": status });
        let api = self.api(declaration.kind);
        let name = object.name_any();
        let parameters = PatchParams { field_manager: Some(OWNER.to_owned()), ..PatchParams::default() };
        within(api.patch_status(&name, &parameters, &Patch::Merge(&patch))).await?;
        self.told.insert(declaration.uid.clone(), (Instant::now(), status));
        Ok(())
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }
}

fn watch(api: Api<DynamicObject>, kind: Kind) -> (Store<DynamicObject>, BoxStream<'static, ()>) {
    let writer = reflector::store::Writer::new(kind.resource());
    let store = writer.as_reader();
    let watched = watcher(api, watcher::Config::default()).default_backoff();
    let watched = watched.modify(|object| object.managed_fields_mut().clear());
    let changes = reflector::reflector(writer, watched).map(move |event| {
        if let Err(error) = event {
            tracing::warn!(kind = kind.name(), %error, "cannot watch; it is tried again");
        }
    });
    (store, changes.boxed())
}
