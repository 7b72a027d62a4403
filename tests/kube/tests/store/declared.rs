//! Backends that people declare with kubectl, through an instance with the rights of `deploy/kubernetes`.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{ARRAY_ACCOUNT, array_backend_without_account, needs_the_machine, until};
use serde_json::Value;

use crate::site::{LIMIT, Site};

const NAMESPACE: &str = "declared";
const INSTANCE: &str = "keeper";

/// What `leister doctor` shall find, and one class that is well.
const WRONG: &str = "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: good}
provisioner: csi.leister.io
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: typo}
provisioner: csi.leister.io
parameters: {medai: ssd}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: nothing-fits}
provisioner: csi.leister.io
parameters: {selector: tier=unheard-of}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: lost}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ''
  csi: {driver: csi.leister.io, volumeHandle: nobody}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: stale}
spec:
  attacher: csi.leister.io
  nodeName: nowhere
  source: {persistentVolumeName: gone}
";

/// An instance, and the namespace that it looks at.
struct House(Arc<Site>);

impl House {
    fn start() -> Result<Self> {
        let site = Site::shared()?;
        let rights = include_str!("../../../../deploy/kubernetes/store.yaml");
        site.kubectl(&["create", "namespace", NAMESPACE])?.ok()?;
        site.apply(include_str!("../../../../deploy/kubernetes/trident.yaml"))?;
        site.wait("crd/tridentbackendconfigs.trident.netapp.io", "condition=Established")?;
        let here = format!("namespace: {NAMESPACE}\n");
        site.apply(&rights.replace("namespace: leister\n", &here))?;
        site.config_of(NAMESPACE, (NAMESPACE, "leister-store"))?;
        site.array_up()?;
        let file = |end: &str| site.path(&format!("{INSTANCE}{end}")).display().to_string();
        fs::create_dir_all(file(".plugins"))?;
        site.serve_leister_as(
            INSTANCE,
            &[
                "run",
                "--store=kubernetes",
                "--trident-configs",
                &format!("--csi-endpoint=unix://{}", file(".csi.sock")),
                "--listen=none",
                "--node=keeper",
                &format!("--kubeconfig={}", site.path(&format!("{NAMESPACE}.kubeconfig")).display()),
                &format!("--namespace={NAMESPACE}"),
                &format!("--state-dir={}", file(".state")),
                &format!("--plugin-dir={}", file(".plugins")),
                &format!("--socket={}", file(".sock")),
            ],
        )?;
        let house = Self(site);
        house.until("it serves", || house.ask(&["version"]).ok()).map(drop)?;
        Ok(house)
    }

    fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
        until(what, LIMIT, look).with_context(|| self.0.log(INSTANCE).unwrap_or_default())
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        let socket = format!("unix://{}", self.0.path(&format!("{INSTANCE}.sock")).display());
        self.0.leister(&[words, &["--server", &socket]].concat())?.ok()
    }

    fn kubectl(&self, words: &[&str]) -> Result<String> {
        self.0.kubectl(&[&["-n", NAMESPACE], words].concat())?.ok()
    }

    /// An object with a backend file as its `spec`, without the account in it.
    fn declare(&self, kind: &str, name: &str, backend: &str, more: &str) -> Result<()> {
        let group = if kind == "Backend" { "leister.io" } else { "trident.netapp.io" };
        let file = array_backend_without_account("ontap-nas", backend, &format!("{name}_"), more);
        let spec: String = file.lines().map(|line| format!("  {line}\n")).collect();
        self.0.apply(&format!(
            "apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n{spec}"
        ))
    }

    fn patch(&self, object: &str, text: &str) -> Result<String> {
        self.kubectl(&["patch", object, "--type=merge", "-p", text])
    }

    fn status(&self, object: &str) -> Result<Value> {
        let whole: Value = serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"])?)?;
        Ok(whole["status"].clone())
    }

    /// Waits for a word in one member of its status.
    fn says(&self, object: &str, member: &str, word: &str) -> Result<Value> {
        self.until(&format!("{object} says `{word}`"), || {
            let status = self.status(object).ok()?;
            status[member].as_str().is_some_and(|said| said.contains(word)).then_some(status)
        })
    }

    /// A line for each.
    fn ask_for_findings(&self) -> Result<String> {
        let socket = format!("unix://{}", self.0.path(&format!("{INSTANCE}.sock")).display());
        let said = self.0.leister(&["doctor", "-o", "json", "--server", &socket])?;
        let findings: Value = serde_json::from_str(&said.out).with_context(|| format!("{said:?}"))?;
        let line = |finding: &Value| format!("{}: {}\n", finding["subject"], finding["problem"]);
        Ok(findings["items"].as_array().into_iter().flatten().map(line).collect())
    }

    /// What the apiserver says no to.
    fn refused(said: Result<impl std::fmt::Debug>, word: &str) -> Result<()> {
        let refusal = format!("{:#}", said.err().context("it is taken")?);
        ensure!(refusal.contains(word), "{refusal}");
        Ok(())
    }
}

#[test]
fn a_declared_backend_is_opened_shown_changed_and_held_while_it_has_volumes() -> Result<()> {
    needs_the_machine!();
    let house = House::start()?;
    let gold = "backends.leister.io/gold";
    let account = "credentials: {name: svm}\n";

    // Before its Secret is there.
    house.declare("Backend", "gold", "gold", account)?;
    house.says(gold, "message", "there is no Secret `svm` in the namespace declared")?;
    let [user, password] = ARRAY_ACCOUNT.map(|(key, value)| format!("--from-literal={key}={value}"));
    house.kubectl(&["create", "secret", "generic", "svm", &user, &password])?;
    let status = house.says(gold, "health", "online")?;
    let pool = &status["pools"][0];
    ensure!(pool["free"].as_u64() > Some(0) && status["conditions"][0]["status"] == "True", "{status}");
    println!("{}", house.kubectl(&["get", "backends.leister.io"])?);

    // What cannot be.
    House::refused(house.patch(gold, r#"{"spec":{"password":"hunter2"}}"#), "credentials")?;
    House::refused(house.patch(gold, r#"{"spec":{"backendName":"other"}}"#), "never changes")?;
    house.declare("Backend", "typo", "typo", &format!("{account}svmm: x\n"))?;
    let status = house.says("backends.leister.io/typo", "message", "svmm")?;
    ensure!(status["health"] == "refused" && status["backend"].is_null(), "{status}");
    house.declare("TridentBackendConfig", "second", "gold", account)?;
    let second = "tridentbackendconfigs.trident.netapp.io/second";
    let status = house.says(second, "message", "defined in Backend declared/gold")?;
    ensure!(status["backendInfo"]["backendName"].is_null(), "{status}");
    house.patch(gold, r#"{"spec":{"svm":"svm9"}}"#)?;
    let status = house.says(gold, "message", "goes on as it was before")?;
    ensure!(status["health"] == "online" && status["message"].to_string().contains("svm9"), "{status}");
    house.patch(gold, r#"{"spec":{"svm":"svm1","userState":"suspended"}}"#)?;
    house.until("it is suspended", || {
        house.ask(&["get", "backends"]).ok().filter(|s| s.contains("suspended"))
    })?;
    house.patch(gold, r#"{"spec":{"userState":null}}"#)?;
    house.until("it is not", || house.ask(&["get", "backends"]).ok().filter(|s| !s.contains("suspended")))?;
    House::refused(house.ask(&["delete", "backend", "gold", "--yes"]), "kubectl")?;

    // Trident's own objects.
    house.declare("TridentBackendConfig", "silver", "silver", account)?;
    let silver = "tridentbackendconfigs.trident.netapp.io/silver";
    let status = house.says(silver, "phase", "Bound")?;
    ensure!(status["backendInfo"]["backendName"] == "silver", "{status}");
    house.says(silver, "lastOperationStatus", "Success")?;

    // It has volumes: it stays, also over a death.
    for backend in ["gold", "silver"] {
        house.ask(&["create", "volume", &format!("on-{backend}"), "--size=32MiB", "--backend", backend])?;
    }
    let held = || {
        house.until("both have a volume", || {
            let volumes = [gold, silver].map(|object| house.status(object).ok()?["volumes"].as_u64());
            (volumes == [Some(1), Some(1)]).then_some(())
        })?;
        [gold, silver]
            .iter()
            .try_for_each(|object| House::refused(house.kubectl(&["delete", object]), "it has 1 volumes"))
    };
    held()?;
    // Who names another's backend holds nothing.
    house.kubectl(&["delete", second])?;
    house.0.kill(INSTANCE)?;
    house.0.start_again(INSTANCE)?;
    house.until("it serves again", || {
        house.ask(&["get", "backends"]).ok().filter(|said| said.matches("online").count() == 2)
    })?;
    held()?;
    // Also when nothing can be made of what it says, and nobody remembers what it said.
    house.patch(gold, r#"{"spec":{"svmm":"x"}}"#)?;
    house.says(gold, "message", "svmm")?;
    house.0.kill(INSTANCE)?;
    house.0.start_again(INSTANCE)?;
    let nothing = || house.status(gold).ok().filter(|status| status["health"] == "refused");
    let status = house.until("it is refused", nothing)?;
    ensure!(status["volumes"] == 1, "{status}");
    held()?;
    house.patch(gold, r#"{"spec":{"svmm":null}}"#)?;
    house.says(gold, "health", "online")?;
    house.ask(&["delete", "volume", "on-gold"])?;
    house.until("the object may go", || house.kubectl(&["delete", gold]).ok())?;
    house.until("the backend is gone", || {
        house.ask(&["get", "backends"]).ok().filter(|s| !s.contains("gold"))
    })?;

    // What is wrong in the cluster.
    house.0.apply(WRONG)?;
    let found = house.ask_for_findings()?;
    println!("{found}");
    for words in [
        &["StorageClass typo", "did you mean `media`"],
        &["StorageClass nothing-fits", "no pool"],
        &["PersistentVolume lost", "`nobody` is not known"],
        &["VolumeAttachment stale", "no PersistentVolume `gone`"],
        &["VolumeSnapshot", "does not know snapshots"],
    ] {
        ensure!(
            found.lines().any(|line| words.iter().all(|word| line.contains(word))),
            "no {words:?}: {found}"
        );
    }
    ensure!(!found.contains("StorageClass good"), "{found}");
    for object in ["sc/good", "sc/typo", "sc/nothing-fits", "pv/lost", "volumeattachment/stale"] {
        house.0.kubectl(&["delete", object, "--wait=false"])?.ok()?;
    }

    // A namespace goes whole, whatever is in it.
    house.0.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=120s"])?.ok()?;
    let left = house.0.array("storage/volumes?name=silver_*")?;
    ensure!(left["num_records"] == 1, "what is on the array stays: {left}");
    Ok(())
}
