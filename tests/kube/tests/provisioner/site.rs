//! A cluster with the provisioner and a simulated array, which all tests share.

use std::fs;
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube_suite::{Cluster, Peace, Shared, array_backend, until};
use serde_json::Value;

pub(crate) const LIMIT: Duration = Duration::from_secs(120);
pub(crate) const PROVISIONER: &str = "provisioner";
/// Whose rights it has, by `deploy/kubernetes`.
const ACCOUNT: (&str, &str) = ("leister-provisioner", "leister-provisioner");

const CHAP: &str = "useCHAP: true
chapUsername: nodes
chapInitiatorSecret: twelve-or-more
chapTargetUsername: array
chapTargetInitiatorSecret: more-than-twelve
";

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
        cluster.apply(include_str!("../../../../deploy/kubernetes/provisioner.yaml"))?;
        let site = Self { cluster, peace: Peace::default() };
        site.serve_array()?;
        let file = |name: &str| site.path(name).display().to_string();
        fs::create_dir(site.path("backends"))?;
        fs::write(site.path("backends/filer.yaml"), backend("filer", "trident_"))?;
        fs::write(site.path("backends/blocks.yaml"), array_backend("ontap-san", "blocks", "blk_", CHAP))?;
        let kubeconfig = site.config_of(PROVISIONER, ACCOUNT)?.display().to_string();
        let (config, state) = (file("backends"), file("provisioner"));
        let socket = site.socket().display().to_string();
        let words = [
            "provisioner",
            "--kubeconfig",
            &kubeconfig,
            "--namespace=leister-provisioner",
            "--listen=none",
            "--node=here",
            "--snapshot-reserve=5",
            "--log-level=info,provisioner=debug",
            "--config",
            &config,
            "--state-dir",
            &state,
            "--socket",
            &socket,
        ];
        site.serve_leister_as(PROVISIONER, &words)?;
        println!("cluster up in {took:.1?}, with array and provisioner in {:.1?}", started.elapsed());
        Ok(site)
    }

    pub(crate) fn quiet(&self) -> RwLockReadGuard<'_, ()> {
        self.peace.quiet()
    }

    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.peace.alone()
    }

    fn end_of_log(&self) -> String {
        const LINES: usize = 40;
        let log = self.log(PROVISIONER).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.path("provisioner.sock")
    }

    /// `leister` with these words, against the provisioner.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<String> {
        let socket = format!("unix://{}", self.socket().display());
        self.leister(&[words, &["--server", &socket]].concat())?.ok()
    }

    /// The names of volumes on the array that contain a word.
    pub(crate) fn on_array(&self, word: &str) -> Result<Vec<String>> {
        let all = self.array(&format!("storage/volumes?name=*{word}*"))?;
        let records = all["records"].as_array().cloned().unwrap_or_default();
        Ok(records.iter().filter_map(|volume| volume["name"].as_str().map(str::to_owned)).collect())
    }

    /// All of one volume on the array.
    pub(crate) fn volume_on_array(&self, name: &str) -> Result<Value> {
        let all = self.array(&format!("storage/volumes?name={name}&fields=**"))?;
        ensure!(all["num_records"] == 1, "there is no volume {name} on the array: {all}");
        Ok(all["records"][0].clone())
    }

    pub(crate) fn bound(&self, claim: &str) -> Result<Duration> {
        let waited = self.wait(&format!("pvc/{claim}"), "jsonpath={.status.phase}=Bound");
        waited.with_context(|| self.end_of_log())
    }

    pub(crate) fn phase(&self, what: &str) -> Result<String> {
        Ok(self.get(what)?["status"]["phase"].as_str().unwrap_or_default().to_owned())
    }

    /// The PV of a claim, and so the volume.
    pub(crate) fn volume(&self, claim: &str) -> Result<String> {
        let found = self.get(&format!("pvc/{claim}"))?;
        Ok(found["spec"]["volumeName"].as_str().context("the claim has no volume")?.to_owned())
    }

    /// What the volume of a claim will be called.
    pub(crate) fn name_for(&self, claim: &str) -> Result<String> {
        let found = self.get(&format!("pvc/{claim}"))?;
        let id = found["metadata"]["uid"].as_str().context("the claim has an id")?;
        Ok(format!("default-{claim}-{}", &id[..5]))
    }

    pub(crate) fn delete(&self, what: &[&str]) -> Result<()> {
        let mut words = vec!["delete", "--wait=true", "--timeout=120s"];
        words.extend(what);
        let deleted = self.kubectl(&words)?.ok();
        deleted.with_context(|| self.evidence()).map(drop)
    }

    /// Waits until nothing is left of a volume: no PV, no record, nothing on the array.
    pub(crate) fn gone(&self, volume: &str) -> Result<()> {
        self.wait(&format!("pv/{volume}"), "delete").with_context(|| self.end_of_log())?;
        let mut left = String::new();
        until(&format!("the end of {volume}"), LIMIT, || {
            let known = self.ask(&["get", "volumes", "-o", "name"]).ok()?;
            let there = self.on_array(&volume.replace(['-', '.'], "_")).ok()?;
            left = format!("records: {known}; on the array: {there:?}");
            (!known.contains(volume) && there.is_empty()).then_some(())
        })
        .with_context(|| format!("{left}\n{}", self.end_of_log()))
    }

    /// Waits for an event of an object that says all of this.
    pub(crate) fn event(&self, object: &str, parts: &[&str]) -> Result<String> {
        let field = format!("--field-selector=involvedObject.name={object}");
        let mut last = String::new();
        let seen = until(&format!("an event of {object} with {parts:?}"), LIMIT, || {
            let lines = "jsonpath={range .items[*]}{.type} {.reason}: {.message}{\"\\n\"}{end}";
            last = self.kubectl(&["get", "events", &field, "-o", lines]).ok()?.ok().ok()?;
            last.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        });
        seen.with_context(|| format!("there are: {last}\n{}", self.end_of_log()))
    }

    /// A claim of 1 GiB in the class `plain`, with more lines of its spec and annotations.
    pub(crate) fn claim(&self, name: &str, annotations: &str, more: &str) -> Result<()> {
        self.apply(&claim(name, annotations, more))
    }

    /// The class that most tests use; it is there once.
    pub(crate) fn plain(&self) -> Result<()> {
        self.class("plain", "parameters: {backendType: ontap-nas}")
    }

    pub(crate) fn class(&self, name: &str, more: &str) -> Result<()> {
        self.apply(&format!(
            "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {name}}}\n\
             provisioner: netapp.io/trident\n{more}\n"
        ))
    }
}

pub(crate) fn claim(name: &str, annotations: &str, more: &str) -> String {
    // The later of two lines of one name would be refused.
    let default =
        |key: &str, line: &str| if more.contains(key) { String::new() } else { format!("  {line}\n") };
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n\
         spec:\n{}{}{}  {more}\n",
        default("accessModes", "accessModes: [ReadWriteMany]"),
        default("storageClassName", "storageClassName: plain"),
        default("resources", "resources: {requests: {storage: 1Gi}}"),
    )
}

/// A backend as the case study has it.
pub(crate) fn backend(name: &str, prefix: &str) -> String {
    array_backend("ontap-nas", name, prefix, "dataLIF: 100.1.33.236\ndefaults: {snapshotPolicy: none}\n")
}
