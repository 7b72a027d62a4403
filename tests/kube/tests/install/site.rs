//! A cluster with the images of the chart's pods, and short words for what is asked of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{Cluster, Helm, until};

pub(crate) const LIMIT: Duration = Duration::from_secs(180);
pub(crate) const NAMESPACE: &str = "leister";
/// Images of the sidecars are made here, under names that no registry has.
const REGISTRY: &str = "leister.test";
const SIDECARS: [&str; 4] = ["csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter"];

pub(crate) struct Site {
    pub(crate) helm: Helm,
    cluster: Cluster,
}

impl std::ops::Deref for Site {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// The chart's folder.
pub(crate) fn chart() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/leister").display().to_string()
}

impl Site {
    pub(crate) fn start() -> Result<Self> {
        let helm = Helm::get()?;
        let cluster = Cluster::start()?;
        cluster.define_snapshots()?;
        cluster.load_images(&SIDECARS.map(|name| format!("{REGISTRY}/{name}:test")))?;
        Ok(Self { helm, cluster })
    }

    /// A file of values for this cluster, with more of them: it has neither a network for pods nor Services.
    pub(crate) fn values(&self, name: &str, more: &str) -> Result<PathBuf> {
        let file = self.path(&format!("{name}.values.yaml"));
        let sidecars = SIDECARS.map(|name| {
            let short = name.trim_start_matches("csi-");
            format!("  {short}: {name}:test\n")
        });
        let text = format!(
            "apiserver: {{host: 10.99.0.1, port: \"6443\"}}
image: {{pullPolicy: Never}}
kubeletDir: {}
stateDir: {}
snapshots: {{enabled: true}}
sidecars:
  registry: {REGISTRY}
  pullPolicy: Never
  extraArgs: [--retry-interval-start=250ms, --retry-interval-max=4s]
{}{more}",
            self.path("kubelet").display(),
            self.path("leister").display(),
            sidecars.concat(),
        );
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Waits for the pods of a kind of the chart.
    pub(crate) fn pods_ready(&self, component: &str, count: usize) -> Result<()> {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        let condition = "{range .items[*]}{.metadata.name} {.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}";
        let mut last = String::new();
        let seen = until(&format!("{count} pods `{component}`"), LIMIT, || {
            let words = ["-n", NAMESPACE, "get", "pods", &selector, "-o", &format!("jsonpath={condition}")];
            last = self.kubectl(&words).ok()?.ok().ok()?;
            let ready = last.lines().filter(|line| line.ends_with(" True")).count();
            (ready == count && last.lines().count() == count).then_some(())
        });
        seen.with_context(|| format!("there are: {last}\n{}", self.story()))
    }

    /// What the pods of the chart say.
    pub(crate) fn story(&self) -> String {
        let said = |words: &[&str]| self.kubectl(words).and_then(kube_suite::Said::ok).unwrap_or_default();
        let selector = "--selector=app.kubernetes.io/name=leister";
        let logs = ["-n", NAMESPACE, "logs", selector, "--all-containers", "--prefix", "--tail=30"];
        let described = said(&["-n", NAMESPACE, "describe", "pods", selector]);
        format!("{described}\n{}\n{}", said(&logs), self.evidence())
    }

    pub(crate) fn claim(&self, name: &str) -> Result<()> {
        self.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n  \
             accessModes: [ReadWriteOnce]\n  storageClassName: leister\n  \
             resources: {{requests: {{storage: 64Mi}}}}\n"
        ))?;
        let bound = self.wait(&format!("pvc/{name}"), "jsonpath={.status.phase}=Bound");
        let took = bound.with_context(|| self.story())?;
        println!("claim {name} bound in {took:.1?}");
        Ok(())
    }

    /// Removes a claim, and waits until its PV is gone.
    pub(crate) fn unclaim(&self, name: &str) -> Result<()> {
        let found = self.get(&format!("pvc/{name}"))?;
        let volume = found["spec"]["volumeName"].as_str().context("the claim has no volume")?.to_owned();
        self.kubectl(&["delete", "pvc", name, "--timeout=120s"])?.ok()?;
        self.wait(&format!("pv/{volume}"), "delete").with_context(|| self.story()).map(drop)
    }

    /// What is there of the release, of all kinds that have instances.
    pub(crate) fn left(&self) -> Result<Vec<String>> {
        let kinds = self.kubectl(&["api-resources", "--verbs=list,delete", "-o", "name"])?.ok()?;
        // The kubelet's own events and what the cluster derives pass by themselves.
        let passing = ["events", "events.events.k8s.io", "endpointslices.discovery.k8s.io", "endpoints"];
        let kinds: Vec<_> = kinds.lines().filter(|kind| !passing.contains(kind)).collect();
        let words =
            ["get", &kinds.join(","), "-A", "-o", "name", "--selector=app.kubernetes.io/instance=leister"];
        let said = self.kubectl(&words)?.ok()?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    pub(crate) fn nothing_left(&self) -> Result<()> {
        let mut left = Vec::new();
        let gone = until("the release to be gone", LIMIT, || {
            left = self.left().ok()?;
            left.is_empty().then_some(())
        });
        gone.with_context(|| format!("left: {left:?}"))?;
        let roles =
            self.kubectl(&["get", "clusterroles,clusterrolebindings,csidrivers", "-o", "name"])?.ok()?;
        let ours: Vec<_> = roles.lines().filter(|name| name.contains("leister")).collect();
        ensure!(ours.is_empty(), "left: {ours:?}");
        Ok(())
    }
}
