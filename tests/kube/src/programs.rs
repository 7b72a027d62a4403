//! The programs of Kubernetes, fetched and built once a user.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use go_suite::{Go, cache, lock, version};

const CLUSTER: [&str; 9] = [
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "k8s.io/kubernetes/cmd/kubectl",
    "k8s.io/kubernetes/cmd/kubelet",
    "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher",
    "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer",
    "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter",
    "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller",
];
const PROVISIONER: [&str; 1] = ["github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner"];
const SNAPSHOTS: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";
const KUBERNETES: &str = "k8s.io/kubernetes";

/// The programs, and the definitions of resources that they need.
#[derive(Debug, Clone)]
pub struct Programs(PathBuf);

impl Programs {
    /// Builds what is not there yet: some 15 minutes of two cores, once.
    ///
    /// # Errors
    /// They cannot be fetched or built.
    pub fn get() -> Result<Self> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools");
        let (cluster, provisioner) = (tools.join("cluster"), tools.join("provisioner"));
        let version = cluster_version()?;
        let cache = cache()?;
        let modules = [fs::read(cluster.join("go.mod"))?, fs::read(provisioner.join("go.mod"))?].concat();
        let folder = cache.join(format!("kube-{version}-{:016x}", fingerprint(&modules)));
        // Two runs at once make it once.
        let _alone = lock(&cache, "kube")?;
        if folder.exists() {
            return Ok(Self(folder));
        }
        let go = Go::find(&cache)?;
        // In place only when it is whole.
        let fresh = folder.with_extension("new");
        fs::create_dir_all(&fresh)?;
        let flags = format!("-s -w -X k8s.io/component-base/version.gitVersion={version}");
        go.build(&cluster, &flags, &fresh, &CLUSTER)?;
        go.build(&provisioner, "-s -w", &fresh, &PROVISIONER)?;
        let snapshots = go.folder_of(&cluster, SNAPSHOTS)?;
        copy_definitions(&snapshots, "snapshot.storage", &fresh.join("definitions"))?;
        fs::rename(&fresh, &folder)?;
        Ok(Self(folder))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A folder with the definitions of snapshots of several volumes, which are not among the others: most clusters have
    /// none.
    pub(crate) fn group_definitions(&self) -> Result<PathBuf> {
        let name = self.0.file_name().context("a folder has a name")?.to_string_lossy().into_owned();
        let cache = cache()?;
        let folder = cache.join(name.replacen("kube", "groups", 1));
        let _alone = lock(&cache, "kube")?;
        if folder.exists() {
            return Ok(folder);
        }
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/cluster");
        let fresh = folder.with_extension("new");
        copy_definitions(&Go::find(&cache)?.folder_of(&module, SNAPSHOTS)?, "groupsnapshot.storage", &fresh)?;
        fs::rename(&fresh, &folder)?;
        Ok(folder)
    }

    /// The folder with the definitions of snapshots.
    pub(crate) fn definitions(&self) -> PathBuf {
        self.0.join("definitions")
    }
}

/// Those of a module whose names begin so.
fn copy_definitions(module: &Path, beginning: &str, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    for entry in fs::read_dir(module.join("config/crd"))? {
        let path = entry?.path();
        let name = path.file_name().context("a folder's entry has a name")?.to_string_lossy();
        if name.starts_with(beginning) {
            fs::write(into.join(&*name), fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// That of Kubernetes.
pub(crate) fn cluster_version() -> Result<String> {
    version(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/cluster"), KUBERNETES)
}

/// Another text has another one.
pub(crate) fn fingerprint(text: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    text.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
