//! The machines and the cluster on them, which all tests share, in turn.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use filer_suite::{Filer, FilerSpec};
use kube_suite::{BUSYBOX, Cluster, Machine, until};
use rig::{Rig, Size};

pub(crate) const LIMIT: Duration = Duration::from_secs(180);
const NODES: [&str; 2] = ["node1", "node2"];
const ACCOUNT: (&str, &str) = ("leister", "leister-sidecars");
/// Block volumes with a file system.
const BLOCKS: &str = "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: leister-ext4}
provisioner: csi.leister.io
allowVolumeExpansion: true
parameters: {csi.storage.k8s.io/fstype: ext4}
";

pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) filer: Filer<'static>,
    pub(crate) machines: [Machine<'static>; 2],
    turn: Mutex<()>,
}

/// The rig outlives the cluster that is on its networks.
static RIG: LazyLock<Result<Rig, String>> = LazyLock::new(|| boot().map_err(|error| format!("{error:#}")));
static SITE: LazyLock<Result<Site, String>> =
    LazyLock::new(|| Site::start().map_err(|error| format!("{error:#}")));

fn boot() -> Result<Rig> {
    let rig =
        Rig::builder().guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(4)).disk(Size::mib(128)));
    let node = |rig: rig::Builder, name| rig.guest(name, |g| g.memory(Size::mib(1280)).disk(Size::gib(2)));
    NODES.into_iter().fold(rig, node).up()
}

impl Site {
    pub(crate) fn shared() -> Result<&'static Site> {
        SITE.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn start() -> Result<Self> {
        let started = Instant::now();
        let rig = RIG.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        let _watch = rig.watch();
        let cluster = Cluster::start_on(rig, &NODES)?;
        let filer = Filer::up(rig, "storage", FilerSpec::default())?;
        cluster.apply(include_str!("../../../../deploy/kubernetes/leister.yaml"))?;
        cluster.apply(include_str!("../../../../deploy/kubernetes/classes.yaml"))?;
        cluster.apply(BLOCKS)?;
        println!("cluster and storage up in {:.1?}", started.elapsed());
        let [first, second] = std::thread::scope(|scope| {
            let joining = NODES.map(|name| {
                let (cluster, filer) = (&cluster, &filer);
                scope.spawn(move || Machine::join(cluster, rig, name, filer))
            });
            joining.map(|joined| joined.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let machines = [first?, second?];
        println!("with both nodes in {:.1?}", started.elapsed());
        let words = [
            "--csi-address=/var/lib/kubelet/plugins/csi.leister.io/csi.sock",
            "--timeout=60s",
            "--retry-interval-start=250ms",
            "--retry-interval-max=4s",
        ];
        for sidecar in ["csi-attacher", "csi-resizer", "csi-provisioner"] {
            machines[1].serve_sidecar(&cluster, sidecar, ACCOUNT, &words)?;
        }
        Ok(Self { cluster, filer, machines, turn: Mutex::new(()) })
    }

    /// The machines are few: one test after the other.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim of 64 MiB, in the class `leister` unless more lines say otherwise.
    pub(crate) fn claim(&self, name: &str, more: &str) -> Result<()> {
        let default =
            |key: &str, line: &str| if more.contains(key) { String::new() } else { format!("  {line}\n") };
        self.cluster.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n{}{}  {more}\n  \
             resources: {{requests: {{storage: 64Mi}}}}\n",
            default("accessModes", "accessModes: [ReadWriteOnce]"),
            default("storageClassName", "storageClassName: leister"),
        ))
    }

    /// A pod on a node that runs a script and then stays, with a claim at `/data`.
    pub(crate) fn pod(&self, name: &str, node: &str, claim: &str, script: &str) -> Result<()> {
        let script = serde_json::Value::from(format!("{script}\ntouch /tmp/done; exec sleep 100000"));
        self.cluster.apply(&format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  hostNetwork: true
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: Never
    command: [sh, -ec, {script}]
    readinessProbe: {{exec: {{command: [test, -e, /tmp/done]}}, periodSeconds: 1}}
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: {claim}}}}}]
"
        ))
    }

    pub(crate) fn ready(&self, pod: &str) -> Result<Duration> {
        self.cluster.wait(&format!("pod/{pod}"), "condition=Ready")
    }

    /// What a command says inside of a pod.
    pub(crate) fn exec(&self, pod: &str, script: &str) -> Result<String> {
        self.cluster.kubectl(&["exec", pod, "--", "sh", "-c", script])?.ok()
    }

    pub(crate) fn delete(&self, what: &[&str]) -> Result<()> {
        let words = [&["delete", "--wait=true", "--timeout=120s"], what].concat();
        self.cluster.kubectl(&words)?.ok().with_context(|| self.cluster.evidence()).map(drop)
    }

    /// Waits for an event that says something of an object.
    pub(crate) fn event(&self, object: &str, wanted: &str) -> Result<()> {
        let field = format!("--field-selector=involvedObject.name={object}");
        until(&format!("an event of {object} with `{wanted}`"), LIMIT, || {
            let said = self.cluster.kubectl(&["get", "events", &field, "-o", "json"]).ok()?.ok().ok()?;
            said.contains(wanted).then_some(())
        })
    }
}

/// Leaves the test with a line `skipped: <reason>` where the machine lacks what it needs.
macro_rules! needs_the_machines {
    () => {
        let lacking = kube_suite::lacking().or_else(|| rig::Rig::available(rig::Backend::Uml).err());
        if let Some(reason) = lacking {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
}
pub(crate) use needs_the_machines;
