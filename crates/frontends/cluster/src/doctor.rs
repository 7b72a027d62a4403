//! What is wrong in the cluster: classes that nothing fits, PVs and volumes without one another, what does not end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, StorageClass, VolumeAttachment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use model::VolumeId;
use orchestrator::{
    Catalogue, CreateRequest, ErrorKind, Finding, Inspect, Orchestrator, Severity, VolumeRecord,
};
use serde::de::DeserializeOwned;

use crate::lost::{BEGUN, is_begun, is_marked};
use crate::within;

/// Looks at what the cluster has of one driver.
#[derive(Clone)]
pub struct ClusterInspector {
    client: Client,
    /// The driver's name.
    driver: String,
}

/// What the cluster has of it.
struct Seen {
    classes: Vec<StorageClass>,
    volumes: Vec<PersistentVolume>,
    claims: Vec<PersistentVolumeClaim>,
    attachments: Vec<VolumeAttachment>,
    nodes: Vec<CSINode>,
    machines: Vec<Node>,
    drivers: Vec<CSIDriver>,
}

/// What is under way for less is none of a doctor's business.
const LONG: Duration = Duration::from_secs(600);
/// Objects in one answer.
const PAGE: u32 = 500;
/// What a provisioner takes for itself.
const ADDED: &str = "csi.storage.k8s.io/";
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

impl ClusterInspector {
    pub fn new(client: Client, driver: &str) -> ClusterInspector {
        ClusterInspector { client, driver: driver.to_owned() }
    }

    async fn look(&self) -> kube::Result<Seen> {
        Ok(Seen {
            classes: self.all::<StorageClass>().await?,
            volumes: self.all::<PersistentVolume>().await?,
            claims: self.all::<PersistentVolumeClaim>().await?,
            attachments: self.all::<VolumeAttachment>().await?,
            nodes: self.all::<CSINode>().await?,
            machines: self.all::<Node>().await?,
            drivers: self.all::<CSIDriver>().await?,
        })
    }

    async fn all<K>(&self) -> kube::Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api = Api::<K>::all(self.client.clone());
        let mut all = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = within(api.list(&parameters)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => parameters = parameters.continue_token(&more),
                None => return Ok(all),
            }
        }
    }

    async fn examine(&self, seen: &Seen, orchestrator: &Orchestrator) -> Vec<Finding> {
        let catalogue = orchestrator.catalogue();
        let mut findings = Vec::new();
        if !seen.drivers.iter().any(|driver| driver.name_any() == self.driver) {
            findings.push(finding(
                Severity::Error,
                format!("CSIDriver {}", self.driver),
                "the cluster does not know the driver".to_owned(),
                "install the chart, or apply deploy/kubernetes/install.yaml",
            ));
        }
        let ours = |class: &&StorageClass| class.provisioner == self.driver;
        for class in seen.classes.iter().filter(ours) {
            findings.extend(examine_class(class, orchestrator).await);
        }
        findings.extend(examine_defaults(&seen.classes, &self.driver));
        findings.extend(self.examine_volumes(seen, &catalogue));
        findings.extend(self.examine_attachments(seen));
        findings.extend(self.examine_nodes(seen, &catalogue));
        findings.extend(self.examine_losses(seen));
        findings.extend(self.examine_endings(seen));
        let snapshots = within(self.client.list_api_groups()).await;
        if snapshots.is_ok_and(|known| !known.groups.iter().any(|group| group.name == SNAPSHOTS)) {
            findings.push(finding(
                Severity::Note,
                "VolumeSnapshot".to_owned(),
                "the cluster does not know snapshots".to_owned(),
                "install the definitions and the controller of kubernetes-csi/external-snapshotter, if they are wanted",
            ));
        }
        findings
    }

    fn handle<'a>(&self, volume: &'a PersistentVolume) -> Option<&'a str> {
        let csi = volume.spec.as_ref()?.csi.as_ref()?;
        (csi.driver == self.driver).then_some(csi.volume_handle.as_str())
    }

    /// PVs without a volume, and volumes that were made for one and have none.
    fn examine_volumes(&self, seen: &Seen, catalogue: &Catalogue) -> Vec<Finding> {
        let mut named = BTreeSet::new();
        let mut findings = Vec::new();
        for volume in &seen.volumes {
            let Some(handle) = self.handle(volume) else { continue };
            named.insert(handle);
            let known = VolumeId::new(handle).ok().is_some_and(|id| catalogue.volume(&id).is_some());
            // One that is being deleted goes after its volume.
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            if !known && phase != Some("Released") {
                findings.push(finding(
                    Severity::Error,
                    format!("PersistentVolume {}", volume.name_any()),
                    format!("its volume `{handle}` is not known"),
                    "`leister doctor` names it if a backend has it still: `leister adopt` brings it back; else its data \
                     is gone",
                ));
            }
        }
        let was_made = |record: &&std::sync::Arc<VolumeRecord>| {
            record.spec.labels.contains_key("pv") && is_over(record.created)
        };
        for record in catalogue.volumes().filter(was_made) {
            if !named.contains(record.id.as_str()) {
                findings.push(finding(
                    Severity::Warning,
                    format!("volume {}", record.id),
                    "it was made for a PersistentVolume, and there is none".to_owned(),
                    &format!("if nobody needs its data: leister delete volume {}", record.id),
                ));
            }
        }
        findings
    }

    fn examine_attachments(&self, seen: &Seen) -> Vec<Finding> {
        let volumes: BTreeSet<String> = seen.volumes.iter().map(PersistentVolume::name_any).collect();
        let nodes: BTreeSet<String> = seen.nodes.iter().map(CSINode::name_any).collect();
        let ours = seen.attachments.iter().filter(|own| own.spec.attacher == self.driver);
        let stale = |own: &VolumeAttachment| {
            let volume = own.spec.source.persistent_volume_name.clone().unwrap_or_default();
            let node = &own.spec.node_name;
            let problem = match () {
                () if !volumes.contains(&volume) => format!("there is no PersistentVolume `{volume}`"),
                () if !nodes.contains(node) => format!("there is no node `{node}`"),
                () => return None,
            };
            let advice = format!(
                "if no pod uses it there: `leister fence volume NAME --node {node}`, then kubectl delete volumeattachment {}",
                own.name_any()
            );
            let subject = format!("VolumeAttachment {}", own.name_any());
            Some(finding(Severity::Warning, subject, problem, &advice))
        };
        ours.filter_map(stale).collect()
    }

    /// Nodes of ours whose kubelet does not know the driver.
    fn examine_nodes(&self, seen: &Seen, catalogue: &Catalogue) -> Vec<Finding> {
        let knows = |node: &CSINode| node.spec.drivers.iter().any(|driver| driver.name == self.driver);
        let strangers = seen.nodes.iter().filter(|node| !knows(node)).map(CSINode::name_any);
        let known: BTreeMap<String, _> =
            catalogue.nodes().map(|record| (record.identity.name.to_string(), record.registered)).collect();
        strangers
            .filter(|name| known.get(name).is_some_and(|registered| is_over(*registered)))
            .map(|name| {
                finding(
                    Severity::Warning,
                    format!("node {name}"),
                    format!(
                        "its kubelet does not know the driver `{}`: no pod there gets a volume",
                        self.driver
                    ),
                    "see the log of `leister node` there: --kubelet-dir is the kubelet's --root-dir",
                )
            })
            .collect()
    }

    /// Nodes whose pods are without their volumes until they are marked.
    fn examine_losses(&self, seen: &Seen) -> Vec<Finding> {
        let half_taken = |node: &&Node| is_begun(node, &self.driver) && !is_marked(node);
        let tell = |node: &Node| {
            let name = node.name_any();
            finding(
                Severity::Warning,
                format!("node {name}"),
                "its kubelet was silent, and its volumes are being taken from it: it is not marked as out of service yet, \
                 and its pods may be without them"
                    .to_owned(),
                &format!(
                    "its events say what is in the way, and a controller with --lost-nodes-after goes on by itself; without \
                     one, end the pods there that use volumes, then kubectl annotate node {name} {BEGUN}-"
                ),
            )
        };
        seen.machines.iter().filter(half_taken).map(tell).collect()
    }

    /// What somebody has deleted, and does not end.
    fn examine_endings(&self, seen: &Seen) -> Vec<Finding> {
        let classes: BTreeSet<String> = seen
            .classes
            .iter()
            .filter(|class| class.provisioner == self.driver)
            .map(StorageClass::name_any)
            .collect();
        let volumes = seen.volumes.iter().filter(|volume| self.handle(volume).is_some());
        let claims = seen.claims.iter().filter(|claim| {
            let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
            class.is_some_and(|class| classes.contains(class))
        });
        let attachments = seen.attachments.iter().filter(|own| own.spec.attacher == self.driver);
        volumes
            .map(|own| ("PersistentVolume", own.meta()))
            .chain(claims.map(|own| ("PersistentVolumeClaim", own.meta())))
            .chain(attachments.map(|own| ("VolumeAttachment", own.meta())))
            .filter_map(|(kind, meta)| ending(kind, meta))
            .collect()
    }
}

#[async_trait]
impl Inspect for ClusterInspector {
    async fn inspect(&self, orchestrator: &Orchestrator) -> Vec<Finding> {
        match self.look().await {
            Ok(seen) => self.examine(&seen, orchestrator).await,
            Err(error) => vec![finding(
                Severity::Warning,
                "the cluster".to_owned(),
                format!("it cannot be examined: {error}"),
                "see whether the apiserver answers; deploy/kubernetes/store.yaml has the rights",
            )],
        }
    }
}

/// What nobody will find out before the first claim.
async fn examine_class(class: &StorageClass, orchestrator: &Orchestrator) -> Option<Finding> {
    let subject = || format!("StorageClass {}", class.name_any());
    let wrong = |problem: String| {
        let advice =
            "a class cannot be changed: delete it and make it anew; docs/kubernetes.md has its parameters";
        Some(finding(Severity::Error, subject(), problem, advice))
    };
    let mut wish = CreateRequest::named(VolumeId::new("doctor").ok()?);
    for (key, value) in class.parameters.iter().flatten().filter(|(key, _)| !key.starts_with(ADDED)) {
        if let Err(error) = wish.take_parameter(key, value) {
            return wrong(error.sentence());
        }
    }
    match orchestrator.room(&wish).await {
        Err(error) if error.kind == ErrorKind::Unreachable => None,
        Err(error) => wrong(error.sentence()),
        Ok(rooms) if rooms.is_empty() => Some(finding(
            Severity::Warning,
            subject(),
            "no pool of any backend would take its volumes now".to_owned(),
            "a claim's event says of each pool why not; see `leister get backends` and `leister get pools`",
        )),
        Ok(_) => None,
    }
}

/// Of several default classes the newest one is taken.
fn examine_defaults(classes: &[StorageClass], driver: &str) -> Option<Finding> {
    let is_default =
        |class: &&StorageClass| class.annotations().get(DEFAULT).is_some_and(|said| said == "true");
    let defaults: Vec<&StorageClass> = classes.iter().filter(is_default).collect();
    let ours = defaults.iter().find(|class| class.provisioner == driver)?;
    let names = defaults.iter().map(|class| format!("`{}`", class.name_any())).collect::<Vec<_>>().join(", ");
    (defaults.len() > 1).then(|| {
        finding(
            Severity::Warning,
            format!("StorageClass {}", ours.name_any()),
            format!("several classes are the default: {names}; claims get the newest one"),
            "take the annotation storageclass.kubernetes.io/is-default-class from the others",
        )
    })
}

fn ending(kind: &str, meta: &ObjectMeta) -> Option<Finding> {
    let since = meta.deletion_timestamp.as_ref()?.0;
    if !is_over(since) {
        return None;
    }
    let place = meta.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    let held = meta.finalizers.iter().flatten().map(|own| format!("`{own}`")).collect::<Vec<_>>().join(", ");
    Some(finding(
        Severity::Warning,
        format!("{kind} {place}{name}"),
        format!("it was deleted at {since:.0} and is still held by {held}"),
        "see its events and the pods that use it; a finalizer that is taken away by hand may leave data or a right behind",
    ))
}

fn is_over(at: Timestamp) -> bool {
    Timestamp::now().duration_since(at).unsigned_abs() >= LONG
}

fn finding(severity: Severity, subject: String, problem: String, advice: &str) -> Finding {
    Finding { severity, subject, problem, advice: advice.to_owned() }
}
