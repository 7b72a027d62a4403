//! What nobody asks for: the order after a restart, debts, growth, and what the doctor sees of this node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use host::{HostError, Wire};
use model::{Bytes, Layout, Offer, VolumeId};
use orchestrator::{BackendView, Catalogue, Finding, Goal, Inspect, Orchestrator, Severity};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Level;

use crate::log;
use crate::mounts::Mounts;

/// How often mounted block volumes are compared with their records.
const PERIOD: Duration = Duration::from_secs(1);
/// A volume that did not grow, or not get in order, is left alone for so long.
const PAUSE: Duration = Duration::from_secs(15);

/// Adds what the doctor sees of this node, and starts what keeps it in order for as long as the set lives.
///
/// The host must be of this instance alone: volumes below its mounts root that nobody uses are freed.
pub fn keep(mounts: &Arc<Mounts>) -> JoinSet<()> {
    mounts.orchestrator.add_inspector(Arc::new(NodeInspector(Arc::downgrade(mounts))));
    let mut background = JoinSet::new();
    background.spawn(keep_order(mounts.clone()));
    background.spawn(follow_growth(mounts.clone()));
    background.spawn(heal(mounts.clone()));
    background
}

/// Brings the node in order after a start, then pays debts. Never ends.
async fn keep_order(mounts: Arc<Mounts>) {
    reconcile(&mounts).await;
    let mut ticks = tokio::time::interval(PAUSE);
    loop {
        ticks.tick().await;
        let mut volumes = mounts.owed();
        let catalogue = mounts.orchestrator.catalogue();
        let fenced = catalogue.volumes().filter(|record| mounts.is_taken(record));
        volumes.extend(fenced.map(|record| record.id.clone()));
        settle_all(&mounts, volumes).await;
    }
}

/// Mends the sessions of this node with its storages. Never ends.
async fn heal(mounts: Arc<Mounts>) {
    let mut ticks = tokio::time::interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = mounts.host.heal().await {
            tracing::warn!(%error, "the sessions of this node were not looked at");
        }
    }
}

/// Lets the file systems of mounted block volumes follow the sizes in their records. Never ends.
async fn follow_growth(mounts: Arc<Mounts>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut growth = Growth::default();
    loop {
        ticks.tick().await;
        growth.follow(&mounts).await;
    }
}

/// Frees what is published to this node without a user, and publishes what has one.
///
/// # Behavior
/// The mount table is the truth: nothing that a container has mounted is taken down.
async fn reconcile(mounts: &Arc<Mounts>) {
    let mounted = match mounts.host.mounted() {
        Ok(mounted) => mounted,
        Err(error) => {
            tracing::warn!(%error, "the mounts of this node were not compared with the records");
            return;
        }
    };
    let catalogue = mounts.orchestrator.catalogue();
    let mut volumes: Vec<VolumeId> = mounted.keys().cloned().collect();
    let unused = catalogue.volumes().filter(|record| mounts.concerns(record));
    volumes.extend(unused.filter(|r| !mounted.contains_key(&r.id)).map(|r| r.id.clone()));
    let references: usize = mounted.values().map(|references| references.len()).sum();
    tracing::info!(volumes = volumes.len(), references, "volumes found on this node");
    settle_all(mounts, volumes).await;
}

async fn settle_all(mounts: &Arc<Mounts>, volumes: Vec<VolumeId>) {
    const AT_ONCE: usize = 16;
    for some in volumes.chunks(AT_ONCE) {
        let mut tasks = JoinSet::new();
        for volume in some {
            let (mounts, volume) = (mounts.clone(), volume.clone());
            tasks.spawn(async move {
                let held = mounts.hold(&volume).await;
                mounts.settle_or_owe(&held).await;
            });
        }
        tasks.join_all().await;
    }
}

/// Mounted block volumes whose file system follows the size in their record.
#[derive(Debug, Default)]
struct Growth(BTreeMap<VolumeId, Seen>);

#[derive(Debug)]
enum Seen {
    At(Bytes),
    Failed(Instant),
}

impl Growth {
    async fn follow(&mut self, mounts: &Mounts) {
        let Ok(mounted) = mounts.host.mounted() else { return };
        self.0.retain(|volume, _| mounted.contains_key(volume));
        let catalogue = mounts.orchestrator.catalogue();
        for record in mounted.keys().filter_map(|volume| catalogue.volume(volume)) {
            let wanted = record.spec.size;
            let is_grown = match self.0.get(&record.id) {
                Some(Seen::At(size)) => *size == wanted,
                Some(Seen::Failed(at)) => at.elapsed() < PAUSE,
                None => false,
            };
            if record.spec.layout == Layout::File || record.goal == Goal::Gone || is_grown {
                continue;
            }
            let passphrases = match mounts.passphrases(&record).await {
                Ok(passphrases) => passphrases,
                // Whoever handed it over has it grown too, and hands over what that needs.
                Err(_) if mounts.is_kept(&record) => continue,
                Err(error) => {
                    tracing::warn!(volume = %record.id, error = error.sentence(), "a mounted volume has not grown");
                    self.0.insert(record.id.clone(), Seen::Failed(Instant::now()));
                    continue;
                }
            };
            match mounts.host.grow(&record.id, wanted, passphrases.as_ref()).await {
                Ok(()) => {
                    if let Some(Seen::At(before)) = self.0.insert(record.id.clone(), Seen::At(wanted)) {
                        tracing::info!(volume = %record.id, %before, now = %wanted, "grew a mounted volume");
                    }
                }
                // The backend is at it; or the volume has just gone.
                Err(HostError::Size { .. } | HostError::NotAttached(_)) => {}
                Err(error) => {
                    let hopeless = matches!(error, HostError::Unsupported { .. });
                    // Seen for the first time, it may well have its size already.
                    let is_new = !self.0.contains_key(&record.id);
                    log!(
                        if hopeless && is_new { Level::DEBUG } else { Level::WARN },
                        volume = %record.id,
                        error = &error as &dyn std::error::Error,
                        "a mounted volume has not grown"
                    );
                    let seen = if hopeless { Seen::At(wanted) } else { Seen::Failed(Instant::now()) };
                    self.0.insert(record.id.clone(), seen);
                }
            }
        }
    }
}

/// Compares the mount table with the records, and lets the host look for itself.
///
/// The orchestrator keeps it, and the mounts keep the orchestrator: a strong one would keep both for ever.
struct NodeInspector(Weak<Mounts>);

#[async_trait]
impl Inspect for NodeInspector {
    async fn inspect(&self, orchestrator: &Orchestrator) -> Vec<Finding> {
        let Some(mounts) = self.0.upgrade() else { return Vec::new() };
        let catalogue = orchestrator.catalogue();
        let mut findings = compare(&mounts, &catalogue);
        findings.extend(twins(&catalogue));
        // That backends could not be asked for is told by the orchestrator's own findings.
        let wires = wires(&orchestrator.backends().await.unwrap_or_default());
        findings.extend(mounts.host.doctor(&wires).await.into_iter().map(|finding| Finding {
            severity: Severity::Warning,
            subject: finding.subject,
            problem: finding.problem,
            advice: finding.advice,
        }));
        findings
    }
}

/// The wires of the backends, and what their sort of wire needs beside them.
fn wires(backends: &[BackendView]) -> BTreeSet<Wire> {
    let offers = backends.iter().flat_map(|backend| &backend.pools).flat_map(|pool| pool.offers.values());
    let words = offers.filter_map(|offer| if let Offer::Words(words) = offer { Some(words) } else { None });
    let named = words.flatten().flat_map(|word| match word.as_str() {
        "nfs" => &[Wire::Nfs][..],
        "iscsi" => &[Wire::Iscsi, Wire::Multipath],
        "nvme" => &[Wire::Nvme],
        _ => &[],
    });
    named.copied().collect()
}

/// Nodes that storage cannot tell apart: each gets the other's volumes.
fn twins(catalogue: &Catalogue) -> Vec<Finding> {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let nodes: Vec<_> = catalogue.nodes().collect();
    for identity in nodes.iter().map(|node| &node.identity) {
        for name in identity.initiator.iter().chain(&identity.nqn) {
            names.entry(name).or_default().push(identity.name.as_str());
        }
    }
    let twins = names.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    twins
        .map(|(name, nodes)| Finding {
            severity: Severity::Error,
            subject: format!("nodes {}", nodes.join(", ")),
            problem: format!("they have one name, {name}: storage gives each what is meant for the other"),
            advice:
                "give all but one a name of its own (/etc/iscsi/initiatorname.iscsi by `iscsi-iname`, or \
                     remove /etc/nvme/hostnqn and hostid) and start leister there anew"
                    .to_owned(),
        })
        .collect()
}

fn compare(mounts: &Mounts, catalogue: &Catalogue) -> Vec<Finding> {
    let node = &mounts.node;
    let mounted = match mounts.host.mounted() {
        Ok(mounted) => mounted,
        Err(error) => {
            return vec![Finding {
                severity: Severity::Error,
                subject: format!("node {node}"),
                problem: format!("its mount table could not be read: {error}"),
                advice: "see that leister runs as root with /proc mounted".to_owned(),
            }];
        }
    };
    let mut findings = Vec::new();
    let mut find = |severity, volume: &VolumeId, problem: String, advice: &str| {
        // Somebody is at work on it: what is seen now is not what will be.
        if mounts.try_hold(volume).is_some() {
            let subject = format!("volume {volume}");
            findings.push(Finding { severity, subject, problem, advice: advice.to_owned() });
        }
    };
    for (volume, references) in &mounted {
        let users = references.len();
        match catalogue.volume(volume) {
            None => find(
                Severity::Error,
                volume,
                format!("it is mounted on node {node} for {users} containers, but has no record"),
                "if its backend still has it, `leister adopt` it; else stop its containers",
            ),
            // The orchestrator tells of what was taken from a node.
            Some(record) if record.fenced.contains_key(node) => {}
            Some(record) if users > 0 && !mounts.is_published(&record) => find(
                Severity::Error,
                volume,
                format!("it is mounted on node {node} for {users} containers, but not published to it"),
                "it is published again when its backend answers; if it stays so, stop its containers",
            ),
            Some(_) => {}
        }
    }
    let published = catalogue.volumes().filter(|r| mounts.is_published(r) && !mounts.is_kept(r));
    for record in published.filter(|r| mounted.get(&r.id).is_none_or(|references| references.is_empty())) {
        find(
            Severity::Warning,
            &record.id,
            format!("it is published to node {node}, but nothing there has it mounted"),
            "it is freed when its backend answers; restart leister if it stays so",
        );
    }
    findings
}
