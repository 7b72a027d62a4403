//! Nodes that are lost: their volumes are taken from them at the storage, and then the cluster is told that nothing of
//! them runs there any more.

mod signs;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use model::{NodeName, VolumeId};
use orchestrator::{Orchestrator, Request};
use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) use self::signs::{BEGUN, is_begun, is_marked};
use self::signs::{OURS, OUT_OF_SERVICE, Silence, is_ready, is_silent, marked_by_us, taints};
use crate::{is_listed, within};

/// Takes volumes from nodes that have been silent for long, and marks the nodes as out of service.
///
/// # Behavior
/// A node is lost when its kubelet has said nothing for the time given, as this process has seen itself: a clock that
/// is wrong, or a new leader, loses no node. It is marked only when
///
/// - at most half of the nodes are silent: else the silence is more likely ours,
/// - all that is attached to it is of this driver: Kubernetes takes everything from a marked node, and nobody else's
///   storage has been asked to keep it out,
/// - every volume that it has of ours has been taken from it **at the storage**: what still runs there can write no more.
///
/// That it has begun is written at the node before the storage hears of it. So whoever leads next ends what one that was
/// killed had begun, and a node that speaks again meanwhile is marked all the same: its pods have to end, or they would be
/// without their volumes for ever.
///
/// The mark is the taint `node.kubernetes.io/out-of-service`, for which Kubernetes ends the node's pods and lets their
/// volumes go elsewhere. It is taken away when the node is ready again, has let go of what was taken from it, and nothing
/// of ours is attached to it. A mark that somebody else made stays.
///
/// # Source
/// Kubernetes' documentation, "Non-graceful node shutdown handling".
pub struct LostNodes {
    client: Client,
    /// The driver's name.
    driver: String,
    after: Duration,
    recorder: Recorder,
    silence: Silence,
    /// What was said last of each node, and when it was tried.
    told: HashMap<String, (Instant, String)>,
}

const LOOKED_AT: Duration = Duration::from_secs(2);
const TRIED_AGAIN: Duration = Duration::from_secs(15);
/// For a storage to take its volumes from a node.
const FENCING: Duration = Duration::from_secs(60);
const OWNER: &str = "leister";

/// Why a node that is silent is not marked.
type Obstacle = String;

impl LostNodes {
    /// Of the nodes that use the `driver`, those that have been silent for as long as `after`.
    pub fn new(client: Client, driver: &str, after: Duration) -> LostNodes {
        let reporter = Reporter { controller: OWNER.to_owned(), instance: None };
        LostNodes {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            driver: driver.to_owned(),
            after,
            silence: Silence::default(),
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
        let (nodes, writer) = reflector::store::<Node>();
        let watched = watcher(Api::all(self.client.clone()), watcher::Config::default()).default_backoff();
        let slim = watched.modify(|node: &mut Node| {
            node.managed_fields_mut().clear();
            if let Some(status) = &mut node.status {
                status.images = None;
            }
        });
        let changes = reflector::reflector(writer, slim).for_each(async |event| {
            if let Err(error) = event {
                tracing::warn!(%error, "cannot watch the nodes; it is tried again");
            }
        });
        tokio::select! {
            () = changes => {}
            () = self.look(orchestrator, &nodes) => {}
        }
    }

    async fn look(&mut self, orchestrator: &Orchestrator, nodes: &Store<Node>) {
        let mut ticks = tokio::time::interval(LOOKED_AT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !is_listed(nodes) {
                continue;
            }
            let nodes = nodes.state();
            self.silence.note(nodes.iter().map(AsRef::as_ref), Instant::now());
            self.told.retain(|name, _| nodes.iter().any(|node| node.name_any() == *name));
            // A follower takes note as well: when it leads, it need not begin anew.
            if !orchestrator.leadership().leads {
                continue;
            }
            let silent = nodes.iter().filter(|node| is_silent(node)).count();
            let too_many = (silent * 2 > nodes.len()).then(|| {
                format!("{silent} of {} nodes are silent, which is rather the network", nodes.len())
            });
            for node in &nodes {
                let is_begun = is_begun(node, &self.driver);
                let is_lost = is_begun || self.silence.lasts(node, self.after, Instant::now());
                if is_lost && !is_marked(node) {
                    self.lose(orchestrator, node, too_many.clone().filter(|_| is_silent(node))).await;
                } else if is_begun {
                    // Somebody's mark does what ours would have.
                    self.forget(node).await;
                } else if marked_by_us(node) && is_ready(node) {
                    self.welcome(orchestrator, node).await;
                } else if is_ready(node) {
                    self.told.remove(&node.name_any());
                }
            }
        }
    }

    async fn lose(&mut self, orchestrator: &Orchestrator, node: &Node, too_many: Option<Obstacle>) {
        let name = node.name_any();
        let Ok(ours) = NodeName::new(&name) else { return };
        let has_nothing = volumes(orchestrator, &ours).is_empty() && !is_begun(node, &self.driver);
        if has_nothing || self.was_tried(&name) {
            return;
        }
        let ended = match too_many {
            Some(obstacle) => Err(obstacle),
            None => self.take_all(orchestrator, node, &ours).await,
        };
        let silent = format!("its kubelet was silent for {} s", self.after.as_secs());
        match ended {
            Ok(volumes) => {
                let note = format!(
                    "{silent}; its {volumes} volumes of {} were taken from it at the storage, and it is marked as out of \
                     service",
                    self.driver
                );
                self.tell(node, EventType::Warning, "LostNodeFenced", note).await;
            }
            Err(obstacle) => {
                let note = format!("{silent}; it is not marked as out of service: {obstacle}");
                self.tell(node, EventType::Warning, "LostNodeKept", note).await;
            }
        }
    }

    /// Takes all from a node, and marks it: the number of its volumes, or what is in the way.
    async fn take_all(
        &mut self,
        orchestrator: &Orchestrator,
        node: &Node,
        ours: &NodeName,
    ) -> Result<usize, Obstacle> {
        let name = node.name_any();
        let attached = self.attachers(&name).await.map_err(|e| format!("what it has cannot be read: {e}"))?;
        let others: BTreeSet<String> = attached.into_iter().filter(|driver| *driver != self.driver).collect();
        if !others.is_empty() {
            return Err(format!(
                "it has volumes of {} too, which may write on; when it is off, taint it by hand",
                others.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
        if !is_begun(node, &self.driver) {
            self.begin(&name).await?;
        }
        let volumes = volumes(orchestrator, ours);
        let fences = volumes.iter().map(|volume| {
            let fence = Request::Fence { volume: volume.clone(), node: ours.clone() };
            async move { (volume, orchestrator.run_patiently(fence, FENCING).await) }
        });
        for (volume, fenced) in futures::future::join_all(fences).await {
            fenced.map_err(|e| format!("volume `{volume}` could not be taken from it: {}", e.sentence()))?;
        }
        self.mark(&name).await.map_err(|e| format!("the mark cannot be made: {e}"))?;
        Ok(volumes.len())
    }

    /// The driver of each volume that the cluster holds for attached to the node.
    async fn attachers(&self, name: &str) -> kube::Result<Vec<String>> {
        let attached = Api::<VolumeAttachment>::all(self.client.clone());
        let attached = within(attached.list(&ListParams::default())).await?;
        let there = attached.items.into_iter().filter(|attachment| attachment.spec.node_name == name);
        Ok(there.map(|attachment| attachment.spec.attacher).collect())
    }

    /// Writes at a node that its volumes are being taken, if it is silent still.
    async fn begin(&self, name: &str) -> Result<(), Obstacle> {
        let unwritten = |e: kube::Error| format!("that it has begun cannot be written: {e}");
        let node = self.node(name).await.map_err(unwritten)?;
        if !is_silent(&node) {
            return Err("it speaks again".to_owned());
        }
        let begun = json!({ "metadata": { "annotations": { BEGUN: self.driver } } });
        self.patch(&node, begun).await.map_err(unwritten)
    }

    async fn forget(&self, node: &Node) {
        if let Err(error) = self.patch(node, json!({ "metadata": ended() })).await {
            tracing::warn!(node = node.name_any(), %error, "that its volumes were taken stays written at it for now");
        }
    }

    /// With the mark it has ended.
    async fn mark(&self, name: &str) -> kube::Result<()> {
        let node = self.node(name).await?;
        let mark = Taint {
            key: OUT_OF_SERVICE.to_owned(),
            value: Some(OURS.to_owned()),
            effect: "NoExecute".to_owned(),
            time_added: None,
        };
        let taints: Vec<Taint> = taints(&node).cloned().chain([mark]).collect();
        self.patch(&node, json!({ "metadata": ended(), "spec": { "taints": taints } })).await
    }

    async fn node(&self, name: &str) -> kube::Result<Node> {
        within(Api::<Node>::all(self.client.clone()).get(name)).await
    }

    /// Takes our mark from a node that is back, when it has let go of what it had, and the cluster knows.
    async fn welcome(&mut self, orchestrator: &Orchestrator, node: &Node) {
        let name = node.name_any();
        let Ok(ours) = NodeName::new(&name) else { return };
        let catalogue = orchestrator.catalogue();
        let fenced = catalogue.volumes().filter(|record| record.fenced.contains_key(&ours)).count();
        let attached = match self.attachers(&name).await {
            Ok(attached) => attached.into_iter().filter(|driver| *driver == self.driver).count(),
            Err(error) => {
                tracing::warn!(node = name, %error, "what it has cannot be read yet");
                return;
            }
        };
        if fenced + attached > 0 {
            let note = format!(
                "it is back, and marked as long as it may have {fenced} volumes that were taken from it, and {attached} are \
                 attached to it: end the pods there that use them"
            );
            self.tell(node, EventType::Normal, "LostNodeIsBack", note).await;
            return;
        }
        let others: Vec<Taint> = taints(node).filter(|taint| taint.key != OUT_OF_SERVICE).cloned().collect();
        match self.patch(node, json!({ "spec": { "taints": others } })).await {
            Ok(()) => {
                let note = "it is back and has let go of what was taken from it: no longer out of service";
                self.tell(node, EventType::Normal, "LostNodeIsBack", note.to_owned()).await;
            }
            Err(error) => tracing::warn!(node = name, %error, "its mark cannot be taken away yet"),
        }
    }

    /// Nobody else's change is undone: it has to be the node that was looked at.
    async fn patch(&self, node: &Node, mut patch: Value) -> kube::Result<()> {
        patch["metadata"]["resourceVersion"] = json!(node.resource_version());
        let parameters = PatchParams { field_manager: Some(OWNER.to_owned()), ..PatchParams::default() };
        let api = Api::<Node>::all(self.client.clone());
        within(api.patch(&node.name_any(), &parameters, &Patch::Merge(&patch))).await.map(drop)
    }

    fn was_tried(&self, name: &str) -> bool {
        self.told.get(name).is_some_and(|(at, _)| at.elapsed() < TRIED_AGAIN)
    }

    /// Once for each thing that there is to say.
    async fn tell(&mut self, node: &Node, kind: EventType, reason: &str, note: String) {
        let name = node.name_any();
        let told = self.told.insert(name.clone(), (Instant::now(), note.clone()));
        if told.is_some_and(|(_, before)| before == note) {
            return;
        }
        tracing::info!(node = name, reason, note, "said of a node");
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Fence".to_owned(),
            secondary: None,
        };
        let reference = node.object_ref(&());
        let published = self.recorder.publish(&event, &reference);
        match tokio::time::timeout(crate::CALL, published).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(node = name, %error, "an event was not written"),
            Err(_) => tracing::warn!(node = name, "an event was not written in time"),
        }
    }
}

/// That volumes are being taken from a node is true no more.
fn ended() -> Value {
    json!({ "annotations": { BEGUN: null } })
}

/// What a node has, or had until it was taken from it.
fn volumes(orchestrator: &Orchestrator, node: &NodeName) -> Vec<VolumeId> {
    let catalogue = orchestrator.catalogue();
    let has = catalogue
        .volumes()
        .filter(|record| record.published.contains_key(node) || record.fenced.contains_key(node));
    has.map(|record| record.id.clone()).collect()
}
