//! The loop: hears of changes, and has workers look at what they concern.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;

use crate::cluster::Cluster;
use crate::names;
use crate::names::label;
use crate::next::made_by_us;
use crate::queue::Queue;
use crate::wish::Reclaim;
use crate::worker::{Done, Trouble, Worker};
use crate::world::Change;

/// So many volumes at once.
const HANDS: usize = 32;
/// For backends to be open before anybody is told that they are not.
const OPENING: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(100);
/// What is not there has no next moment.
const NEVER: Duration = Duration::from_secs(3600);

pub(crate) struct Tender {
    worker: Arc<Worker>,
    queue: Queue,
    running: JoinSet<Done>,
    names: HashMap<Id, String>,
    /// The claim that each volume is for, by namespace and name.
    claims: HashMap<String, (String, String)>,
    /// What PVs said that vanished before our eyes.
    last: HashMap<String, Reclaim>,
    cluster: Cluster,
}

impl Tender {
    pub(crate) fn new(worker: Worker) -> Tender {
        let known = worker.orchestrator.catalogue().node(&worker.cluster);
        Tender {
            cluster: Cluster::new(
                worker.cluster.clone(),
                known.as_ref().map(|node| &node.identity),
                Instant::now(),
            ),
            worker: Arc::new(worker),
            queue: Queue::default(),
            running: JoinSet::new(),
            names: HashMap::new(),
            claims: HashMap::new(),
            last: HashMap::new(),
        }
    }

    /// Works until it is dropped. What then runs on an array goes on there.
    pub(crate) async fn tend(mut self, mut changes: BoxStream<'static, Change>) {
        self.begin(&mut changes).await;
        let mut glance = tokio::time::interval(Cluster::period());
        loop {
            let due = self.queue.next().filter(|_| self.running.len() < HANDS);
            tokio::select! {
                change = changes.next() => match change {
                    Some(change) => self.hear(change).await,
                    None => return,
                },
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now() + NEVER)) => self.start(),
                _ = glance.tick() => self.look_at_nodes().await,
            }
        }
    }

    /// Reads all kinds once before anything is done: half a picture would look like losses.
    async fn begin(&mut self, changes: &mut BoxStream<'static, Change>) {
        let world = self.worker.world.clone();
        let mut known = std::pin::pin!(world.is_known());
        loop {
            tokio::select! {
                () = &mut known => break,
                change = changes.next() => if change.is_none() { return },
            }
        }
        self.look_at_nodes().await;
        let started = Instant::now();
        while self.worker.orchestrator.is_ready().is_err() && started.elapsed() < OPENING {
            tokio::time::sleep(GLANCE).await;
        }
        self.look_at_all();
        tracing::info!(
            names = self.worker.names.join(", "),
            volumes = self.claims.len(),
            "the provisioner works"
        );
    }

    async fn hear(&mut self, change: Change) {
        match change {
            Change::Claim(claim) => self.want_for(&claim),
            Change::Volume(name) => {
                self.last.remove(&name);
                self.queue.want(&name, Instant::now());
            }
            Change::VolumeGone(name, reclaim) => {
                if self.worker.record(&name).is_some() {
                    self.last.insert(name.clone(), reclaim);
                }
                self.queue.want(&name, Instant::now());
            }
            Change::Classes => {
                for claim in self.worker.world.claims.state() {
                    if names::asked(&claim).is_some() && crate::next::bound_to(&claim).is_none() {
                        self.want_for(&claim);
                    }
                }
            }
            Change::Nodes => self.look_at_nodes().await,
            Change::All => self.look_at_all(),
        }
    }

    fn want_for(&mut self, claim: &PersistentVolumeClaim) {
        let Some(name) = names::volume_of(claim) else { return };
        // Everything else of a claim that never was ours is nothing to us.
        let is_ours =
            names::asked(claim).is_some_and(|asked| self.worker.names.iter().any(|ours| ours == asked));
        if is_ours || self.worker.record(&name).is_some() {
            let namespace = claim.namespace().unwrap_or_default();
            self.claims.insert(name.clone(), (namespace, claim.name_any()));
            self.queue.want(&name, Instant::now());
        }
    }

    fn look_at_all(&mut self) {
        self.claims.clear();
        for claim in self.worker.world.claims.state() {
            self.want_for(&claim);
        }
        for volume in self.worker.world.volumes.state() {
            self.queue.want(&volume.name_any(), Instant::now());
        }
        for record in self.worker.orchestrator.catalogue().volumes().filter(|record| made_by_us(record)) {
            self.queue.want(record.id.as_str(), Instant::now());
        }
    }

    /// Tells the orchestrator which addresses the cluster has, if they have changed.
    async fn look_at_nodes(&mut self) {
        let identity = self.cluster.identity(&self.worker.world.nodes.state(), Instant::now());
        let orchestrator = &self.worker.orchestrator;
        if orchestrator.catalogue().node(&identity.name).is_some_and(|known| known.identity == identity) {
            return;
        }
        tracing::info!(node = %identity.name, addresses = ?identity.addresses, "the cluster's nodes");
        if let Err(error) = orchestrator.register_node(identity).await {
            tracing::warn!(
                error = error.sentence(),
                "the cluster's nodes are not known yet; it is tried again"
            );
        }
    }

    fn start(&mut self) {
        let free = HANDS.saturating_sub(self.running.len());
        for name in self.queue.take(free, Instant::now()) {
            let worker = self.worker.clone();
            let claim = self.claim_of(&name);
            let last = self.last.get(&name).copied();
            let span = tracing::info_span!("claim", volume = name);
            let key = name.clone();
            let work = async move { worker.look(&key, claim, last).await }.instrument(span);
            let id = self.running.spawn(work).id();
            self.names.insert(id, name);
        }
    }

    fn claim_of(&self, volume: &str) -> Option<Arc<PersistentVolumeClaim>> {
        let (namespace, name) = match self.claims.get(volume) {
            Some(known) => known.clone(),
            None => {
                let record = self.worker.record(volume)?;
                let of_record = |key: &str| record.spec.labels.get(key).cloned();
                (of_record(label::NAMESPACE)?, of_record(label::CLAIM)?)
            }
        };
        let claim = self.worker.world.claim(&namespace, &name)?;
        (names::volume_of(&claim).as_deref() == Some(volume)).then_some(claim)
    }

    fn ended(&mut self, ended: Result<(Id, Done), JoinError>) {
        let (id, done) = match ended {
            Ok((id, done)) => (id, done),
            Err(panic) => {
                tracing::error!(%panic, "a look at a volume panicked");
                (panic.id(), Err(Trouble::Passing(panic.to_string())))
            }
        };
        let Some(name) = self.names.remove(&id) else { return };
        if let Err(trouble) = &done {
            tracing::info!(volume = name, %trouble, "not done yet");
        }
        self.queue.done(&name, done.is_ok(), Instant::now());
        if done.is_ok() && self.worker.record(&name).is_none() {
            self.last.remove(&name);
        }
    }
}
