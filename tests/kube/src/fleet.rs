use std::collections::BTreeSet;
use std::fs;
use std::ops::Deref;

use anyhow::Result;
use filer_suite::{Filer, FilerSpec};
use rig::{Rig, Size};

use crate::cluster::Cluster;
use crate::machine::{INSTANCE, Machine};
use crate::pod::{FILES, pod};
use crate::recorded::RECORDED_ACCOUNT;
use crate::scenes::Stage;
use crate::sidecars::{CAPACITY, PACE, SIDECARS_ACCOUNT};
use crate::snapshots::GROUPS;

/// A cluster whose nodes are two guests, over a third one that is the storage, with two controllers of Leister.
pub struct Fleet<'a> {
    pub cluster: Cluster,
    pub filer: Filer<'a>,
    pub machines: [Machine<'a>; 2],
    rig: &'a Rig,
}

/// Two that share the records: the first one leads, the sidecars are beside the other one.
pub const CONTROLLERS: [&str; 2] = ["controller-1", "controller-2"];

const NODES: [&str; 2] = ["node1", "node2"];
/// After the cluster has missed a node, for which it takes 50 s.
const LOST_AFTER: &str = "10s";
/// What a cluster is told of Leister.
const MANIFESTS: [&str; 6] = [
    include_str!("../../../deploy/kubernetes/crds.yaml"),
    include_str!("../../../deploy/kubernetes/leister.yaml"),
    include_str!("../../../deploy/kubernetes/store.yaml"),
    include_str!("../../../deploy/kubernetes/lost-nodes.yaml"),
    include_str!("../../../deploy/kubernetes/classes.yaml"),
    // Block volumes with a file system.
    "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: leister-ext4}
provisioner: csi.leister.io
allowVolumeExpansion: true
parameters: {csi.storage.k8s.io/fstype: ext4}
",
];

impl Deref for Fleet<'_> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl<'a> Fleet<'a> {
    /// The guests.
    ///
    /// # Errors
    /// One does not boot.
    pub fn boot() -> Result<Rig> {
        Self::rig().up()
    }

    /// The guests, for who wants more of them.
    pub fn rig() -> rig::Builder {
        let rig = Rig::builder()
            .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(4)).disk(Size::mib(128)));
        let node =
            |rig: rig::Builder, name| rig.guest(name, |g| g.memory(Size::mib(1280)).disk(Size::gib(2)));
        NODES.into_iter().fold(rig, node)
    }

    /// Starts all that runs on them.
    ///
    /// # Errors
    /// What does not start.
    ///
    /// # Panics
    /// When something in a guest fails; the message has what it said.
    pub fn start(rig: &'a Rig) -> Result<Self> {
        let cluster = Cluster::start_on(rig, &NODES)?;
        let filer = Filer::up(rig, "storage", FilerSpec::default())?;
        MANIFESTS.iter().try_for_each(|manifest| cluster.apply(manifest))?;
        cluster.prepare_snapshots()?;
        let [_, follower] = CONTROLLERS;
        for controller in CONTROLLERS {
            serve_controller(&cluster, &filer, controller)?;
        }
        let [first, second] = std::thread::scope(|scope| {
            let joining = NODES.map(|name| {
                let cluster = &cluster;
                scope.spawn(move || Machine::join(cluster, rig, name))
            });
            joining.map(|joined| joined.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let machines = [first?, second?];
        let address = format!("--csi-address={}", socket(&cluster, follower));
        let words = [&[address.as_str()], &PACE[..]].concat();
        for sidecar in ["csi-attacher", "csi-resizer"] {
            cluster.serve_sidecar(sidecar, SIDECARS_ACCOUNT, &words)?;
        }
        cluster.serve_sidecar("csi-snapshotter", SIDECARS_ACCOUNT, &[&words[..], &[GROUPS]].concat())?;
        cluster.look_for_room()?;
        let provisioner = [&words[..], &CAPACITY, &["--extra-create-metadata"]].concat();
        cluster.serve_sidecar("csi-provisioner", SIDECARS_ACCOUNT, &provisioner)?;
        cluster.serve_controller("snapshot-controller", &[GROUPS])?;
        Ok(Self { cluster, filer, machines, rig })
    }

    /// The guests that it is on.
    pub fn guests(&self) -> &'a Rig {
        self.rig
    }

    /// Scenes begin on the first node and go on on the second one.
    pub fn stage(&self) -> Stage<'_> {
        Stage { cluster: &self.cluster, nodes: NODES }
    }

    /// A pod on a node that runs a script and then stays, with a claim at `/data`.
    ///
    /// # Errors
    /// The cluster refuses it.
    pub fn pod(&self, name: &str, node: &str, claim: &str, script: &str) -> Result<()> {
        let there = format!("nodeSelector: {{kubernetes.io/hostname: {node}}}");
        self.cluster.apply(&pod(name, claim, script, FILES, &[&there]))
    }

    /// The names of the volumes that lie in the pool, whoever knows of them.
    ///
    /// # Panics
    /// When the storage is down.
    pub fn volumes(&self) -> BTreeSet<String> {
        let listed = self.filer.exec(&format!("ls {}/volumes", self.filer.pool())).ok("the pool");
        listed.lines().filter(|name| name.contains("leister_")).map(str::to_owned).collect()
    }
}

/// Starts `leister controller` where the cluster's own programs run.
fn serve_controller(cluster: &Cluster, filer: &Filer<'_>, name: &str) -> Result<()> {
    let trust = cluster.path("trust");
    fs::create_dir_all(&trust)?;
    for (file, content) in filer.issue(INSTANCE)? {
        fs::write(trust.join(file), content)?;
    }
    let backend = cluster.path("filer.yaml");
    fs::write(&backend, filer.backend("filer", &trust.display().to_string()))?;
    let path = |end: &str| cluster.path(&format!("{name}{end}")).display().to_string();
    let kubeconfig = cluster.config_of("records", RECORDED_ACCOUNT)?;
    cluster.serve_leister_as(
        name,
        &[
            "controller",
            "--listen=none",
            "--csi-topology",
            "--store=kubernetes",
            "--namespace=leister",
            &format!("--kubeconfig={}", kubeconfig.display()),
            &format!("--lost-nodes-after={LOST_AFTER}"),
            &format!("--node={name}"),
            &format!("--instance-id={INSTANCE}"),
            &format!("--state-dir={}", path("")),
            &format!("--socket={}", path(".rest.sock")),
            &format!("--csi-endpoint={}", socket(cluster, name)),
            &format!("--config={}", backend.display()),
        ],
    )
}

fn socket(cluster: &Cluster, controller: &str) -> String {
    cluster.path(&format!("{controller}.sock")).display().to_string()
}
