//! A cluster with Leister and the sidecars, which all tests share, and short words for what its users write.

use std::path::PathBuf;
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube_suite::{
    CAPACITY, Cluster, FILES, GROUPS, NODE, PACE, PLACE, Peace, SIDECARS_ACCOUNT, Shared, Stage, claim, pod,
};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Site {
    cluster: Cluster,
    peace: Peace,
}

impl std::ops::Deref for Site {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Site {
    /// The one that all tests of this executable share. The last one to let go of it ends it.
    pub(crate) fn shared() -> Result<Arc<Self>> {
        static SHARED: Shared<Site> = Shared::new();
        SHARED.get(Self::start)
    }

    fn start() -> Result<Self> {
        let started = Instant::now();
        let cluster = Cluster::start()?;
        let took = started.elapsed();
        cluster.apply(include_str!("../../../../deploy/kubernetes/leister.yaml"))?;
        cluster.apply(include_str!("../../../../deploy/kubernetes/classes.yaml"))?;
        cluster.prepare_snapshots()?;
        cluster.serve_leister(&[&format!("--topology={PLACE}")])?;
        let socket = cluster.path("kubelet/plugins/csi.leister.io/csi.sock");
        let address = format!("--csi-address={}", socket.display());
        let words = [&[address.as_str()], &PACE[..]].concat();
        for sidecar in ["csi-attacher", "csi-resizer"] {
            cluster.serve_sidecar(sidecar, SIDECARS_ACCOUNT, &words)?;
        }
        cluster.serve_sidecar("csi-snapshotter", SIDECARS_ACCOUNT, &[&words[..], &[GROUPS]].concat())?;
        cluster.look_for_room()?;
        let provisioner = [&words[..], &CAPACITY, &["--extra-create-metadata"]].concat();
        cluster.serve_sidecar("csi-provisioner", SIDECARS_ACCOUNT, &provisioner)?;
        cluster.serve_controller("snapshot-controller", &[GROUPS])?;
        println!("cluster up in {took:.1?}, with Leister and sidecars in {:.1?}", started.elapsed());
        Ok(Self { cluster, peace: Peace::default() })
    }

    pub(crate) fn quiet(&self) -> RwLockReadGuard<'_, ()> {
        self.peace.quiet()
    }

    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.peace.alone()
    }

    /// A pod that runs a script and then stays, with a claim at `/data`.
    pub(crate) fn pod(&self, name: &str, claim: &str, script: &str) -> Result<()> {
        self.apply(&user(name, claim, script))
    }

    /// The same with a volume that lives as long as the pod; its claim is `NAME-data`.
    pub(crate) fn pod_with_own_volume(&self, name: &str, script: &str) -> Result<()> {
        let pod = user(name, "none", script);
        let spec =
            claim("none", "").split_once("spec:\n").map_or_else(String::new, |(_, spec)| indented(spec));
        let own = format!("ephemeral:\n      volumeClaimTemplate:\n        spec:\n{spec}");
        self.apply(&pod.replace(
            "volumes: [{name: data, persistentVolumeClaim: {claimName: none}}]",
            &format!("volumes:\n  - name: data\n    {own}"),
        ))
    }

    /// Its one node is where all plays.
    pub(crate) fn stage(&self) -> Stage<'_> {
        Stage { cluster: &self.cluster, nodes: [NODE; 2] }
    }

    /// Waits until nothing is left of volumes: no PV, no record, nothing on the pool.
    pub(crate) fn gone(&self, volumes: &[&str]) -> Result<()> {
        for volume in volumes {
            self.wait(&format!("pv/{volume}"), "delete")?;
            let known = self.leister(&["get", "volumes", "-o", "name"])?.ok()?;
            ensure!(!known.contains(volume), "{volume} has a record: {known}");
            let pool = self.pool()?;
            ensure!(!pool.iter().any(|unit| unit.contains(volume)), "{volume} is on the pool: {pool:?}");
        }
        Ok(())
    }

    /// What lies on the pool.
    pub(crate) fn pool(&self) -> Result<Vec<String>> {
        let pool: PathBuf = self.path("pool");
        let listed = self.shell(&format!("btrfs subvolume list {}", pool.display()))?.ok()?;
        Ok(listed.lines().map(str::to_owned).collect())
    }
}

/// Deeper in a pod than in a claim.
fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("        {line}\n")).collect()
}

/// Its users are a group of their own.
fn user(name: &str, claim: &str, script: &str) -> String {
    pod(name, claim, script, FILES, &["restartPolicy: Never", "securityContext: {fsGroup: 4242}"])
}
