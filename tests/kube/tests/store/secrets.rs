//! What not everybody shall read: it is in Secrets, which go with the records that name them.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use kube_suite::{ARRAY_ACCOUNT, array_backend, needs_the_machine, until};
use store::suite::{delete, put};
use store::{Change, Definition, Key, KubernetesConfig, KubernetesStore, Store as _};

use crate::site::{KINDS, LIMIT, Site};

const NAMESPACE: &str = "sealed";
const INSTANCE: &str = "sealer";
/// Long enough that no base64 of something else has it.
const WORD: &str = "hunter2-hunter2";

/// Everything in the namespace but Secrets, as people read it.
fn all_but_secrets(site: &Site, namespace: &str) -> Result<String> {
    let kinds = site.kubectl(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"])?.ok()?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| *kind != "secrets").collect();
    ensure!(kinds.contains(&"backendrecords.leister.io"), "{kinds:?}");
    let words = ["-n", namespace, "get", &kinds.join(","), "-o", "yaml", "--show-managed-fields"];
    site.kubectl(&words)?.ok()
}

/// Neither as it is nor in base64, wherever in three bytes it begins.
fn is_nowhere(word: &str, text: &str) -> Result<()> {
    let coded = |skipped: usize| STANDARD.encode(&word[skipped..word.len() - (word.len() - skipped) % 3]);
    for form in [word.to_owned(), coded(0), coded(1), coded(2)] {
        ensure!(!text.contains(&form), "`{form}` is in: {text}");
    }
    Ok(())
}

fn secrets(site: &Site, namespace: &str) -> Result<Vec<String>> {
    let words = ["-n", namespace, "get", "secrets", "-l", "leister.io/record", "-o", "name"];
    Ok(site.kubectl(&words)?.ok()?.lines().map(str::to_owned).collect())
}

fn until_none(site: &Site, namespace: &str) -> Result<()> {
    until("the Secrets to go", LIMIT, || secrets(site, namespace).ok()?.is_empty().then_some(()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_record_is_in_a_secret_that_changes_and_goes_with_it() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let (site, namespace) = (&place.site, place.namespace.as_str());
    let store = place.store().await?;
    let fence = store.acquire("a").await?.fence;
    let [key, open] = [Key::new("node", "Ä/1"), Key::new("volume", "v")];
    let mut changes = store.watch("node").await?;
    let first = format!("{WORD} 1");
    let at = store.commit(fence, vec![put(&key, None, first.as_bytes())]).await?;
    ensure!(matches!(changes.next().await, Some(Change::Put(entry)) if *entry.value == *first.as_bytes()));
    ensure!(secrets(site, namespace)?.len() == 1);
    is_nowhere(WORD, &all_but_secrets(site, namespace)?)?;

    // Alone and with others, and as another instance reads it.
    let second = format!("{WORD} 2");
    let at = store.commit(fence, vec![put(&key, Some(at), second.as_bytes())]).await?;
    let third = format!("{WORD} 3");
    let both = vec![put(&key, Some(at), third.as_bytes()), put(&open, None, b"{}")];
    let at = store.commit(fence, both).await?;
    let wrong = store.commit(fence, vec![put(&key, None, b"another")]).await;
    ensure!(wrong.is_err(), "{wrong:?}");
    for reader in [&store, &place.store().await?] {
        let listed = reader.list("node").await?;
        ensure!(listed.len() == 1 && *listed[0].value == *third.as_bytes(), "{listed:?}");
        ensure!(reader.find(&key).await?.is_some_and(|entry| *entry.value == *third.as_bytes()));
    }
    ensure!(secrets(site, namespace)?.len() == 1, "former ones go");
    is_nowhere(WORD, &all_but_secrets(site, namespace)?)?;

    store.commit(fence, vec![delete(&key, Some(at))]).await?;
    until_none(site, namespace)?;

    // Without its Secret it is told of, and the others are read.
    store.commit(fence, vec![put(&key, None, b"1")]).await?;
    let [lost] = &secrets(site, namespace)?[..] else { anyhow::bail!("one Secret") };
    place.kubectl(&["delete", lost])?;
    let other = Key::new("node", "other");
    store.commit(fence, vec![put(&other, None, b"2")]).await?;
    let listed = store.list("node").await?;
    ensure!(listed.len() == 1 && listed[0].key == other, "{listed:?}");
    // And somebody who removes a record removes its Secret.
    place.kubectl(&["delete", "nodes.leister.io", "--all"])?;
    until_none(site, namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_older_versions_have_written_is_in_secrets_once_somebody_leads() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let (site, namespace) = (&place.site, place.namespace.as_str());
    let older = KINDS.map(|kind| Definition { is_private: false, ..kind });
    let old =
        KubernetesStore::open(&KubernetesConfig { kinds: older.to_vec(), ..place.config.clone() }).await?;
    let lease = old.acquire("a").await?;
    let keys = ["plain", "Not plain"].map(|id| Key::new("node", id));
    for key in &keys {
        old.commit(lease.fence, vec![put(key, None, WORD.as_bytes())]).await?;
    }
    old.release(&lease).await?;
    ensure!(is_nowhere(WORD, &all_but_secrets(site, namespace)?).is_err());

    let new = place.store().await?;
    // Who follows reads it as it is.
    ensure!(new.list("node").await?.len() == keys.len());
    let fence = new.acquire("b").await?.fence;
    is_nowhere(WORD, &all_but_secrets(site, namespace)?)?;
    ensure!(secrets(site, namespace)?.len() == keys.len());
    for key in &keys {
        let found = new.find(key).await?.context("it is lost")?;
        ensure!(*found.value == *WORD.as_bytes(), "{found:?}");
        new.commit(fence, vec![delete(key, Some(found.revision))]).await?;
    }
    until_none(site, namespace)
}

/// While it is there, nobody changes such records: what has begun ends between Secret and record.
const STOP: &str = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: stop}
spec:
  matchConstraints:
    resourceRules:
      - {apiGroups: [leister.io], apiVersions: [v1], operations: [UPDATE], resources: [nodes]}
  validations: [{expression: 'false', message: it is stopped}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: stop}
spec:
  policyName: stop
  validationActions: [Deny]
  matchResources:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
";

#[tokio::test(flavor = "multi_thread")]
async fn an_end_between_secret_and_record_loses_nothing_and_the_next_try_goes_on() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let (site, namespace) = (&place.site, place.namespace.as_str());
    let store = place.store().await?;
    let lease = store.acquire("a").await?;
    let [old, new, probe] = ["old", "new", "probe"].map(|id| Key::new("node", id));
    let at = store.commit(lease.fence, vec![put(&old, None, b"before")]).await?;
    store.commit(lease.fence, vec![put(&probe, None, b"probe")]).await?;
    site.apply(&STOP.replace("NAMESPACE", namespace))?;
    until("the stop", LIMIT, || {
        place.kubectl(&["label", "--overwrite", "nodes.leister.io/probe", "a=b"]).err()
    })?;
    for writes in [vec![put(&new, None, b"after")], vec![put(&old, Some(at), b"after")]] {
        let refused = store.commit(lease.fence, writes).await;
        ensure!(refused.is_err(), "{refused:?}");
    }
    ensure!(secrets(site, namespace)?.len() == 4, "they came before the records");
    // It is as if its process had died then.
    store.release(&lease).await?;
    drop(store);
    site.kubectl(&["delete", "validatingadmissionpolicybinding/stop", "validatingadmissionpolicy/stop"])?
        .ok()?;
    until("no stop", LIMIT, || {
        place.kubectl(&["label", "--overwrite", "nodes.leister.io/probe", "a=c"]).ok()
    })?;

    let store = place.store().await?;
    let fence = store.acquire("b").await?.fence;
    let listed = store.list("node").await?;
    let there: Vec<_> = listed.iter().map(|entry| (&*entry.key.id, &*entry.value)).collect();
    ensure!(there == [("old", b"before".as_slice()), ("probe", b"probe")], "{there:?}");
    let at = listed[0].revision;
    let new_at = store.commit(fence, vec![put(&new, None, b"after")]).await?;
    let old_at = store.commit(fence, vec![put(&old, Some(at), b"after")]).await?;
    for key in [&new, &old] {
        ensure!(store.find(key).await?.is_some_and(|entry| *entry.value == *b"after"));
    }
    // Nothing that was left behind outlives them.
    let probe_at = listed[1].revision;
    for (key, at) in [(&new, new_at), (&old, old_at), (&probe, probe_at)] {
        store.commit(fence, vec![delete(key, Some(at))]).await?;
    }
    until_none(site, namespace)
}

/// `leister run`, with the rights of `deploy/kubernetes`.
struct Instance(Arc<Site>);

impl Instance {
    fn start() -> Result<Self> {
        let site = Site::shared()?;
        site.kubectl(&["create", "namespace", NAMESPACE])?.ok()?;
        let rights = include_str!("../../../../deploy/kubernetes/store.yaml");
        let here = format!("namespace: {NAMESPACE}\n");
        site.apply(
            &rights.replace("namespace: leister\n", &here).replace("leister-doctor", "sealed-doctor"),
        )?;
        site.config_of(NAMESPACE, (NAMESPACE, "leister-store"))?;
        site.array_up()?;
        let file = |end: &str| site.path(&format!("{INSTANCE}{end}")).display().to_string();
        site.serve_leister_as(
            INSTANCE,
            &[
                "controller",
                "--store=kubernetes",
                "--listen=none",
                "--node=sealer",
                &format!("--csi-endpoint=unix://{}", file(".csi.sock")),
                &format!("--kubeconfig={}", site.path(&format!("{NAMESPACE}.kubeconfig")).display()),
                &format!("--namespace={NAMESPACE}"),
                &format!("--state-dir={}", file(".state")),
                &format!("--socket={}", file(".sock")),
            ],
        )?;
        let instance = Self(site);
        instance.until("it serves", || instance.ask(&["version"]).ok()).map(drop)?;
        Ok(instance)
    }

    fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
        until(what, LIMIT, look).with_context(|| self.0.log(INSTANCE).unwrap_or_default())
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        let socket = format!("unix://{}", self.0.path(&format!("{INSTANCE}.sock")).display());
        self.0.leister(&[words, &["--server", &socket]].concat())?.ok()
    }

    fn create(&self, backend: &str) -> Result<String> {
        let file = self.0.path("sealed.yaml");
        fs::write(&file, backend)?;
        self.ask(&["create", "-f", &file.display().to_string()])
    }

    /// The one Secret of its only backend.
    fn secret(&self) -> Result<String> {
        let mut all = secrets(&self.0, NAMESPACE)?;
        ensure!(all.len() == 1, "{all:?}");
        Ok(all.remove(0))
    }
}

#[test]
fn a_backend_made_through_the_api_has_its_password_in_a_secret_alone() -> Result<()> {
    needs_the_machine!();
    let instance = Instance::start()?;
    let site = instance.0.clone();
    let password = ARRAY_ACCOUNT[1].1;
    let online = || instance.ask(&["get", "backends"]).ok().filter(|said| said.contains("online"));
    let hidden = || -> Result<()> {
        is_nowhere(password, &all_but_secrets(&site, NAMESPACE)?)?;
        is_nowhere(password, &instance.ask(&["get", "backends", "-o", "yaml"])?)?;
        is_nowhere(password, &site.log(INSTANCE)?)
    };
    instance.create(&array_backend("ontap-nas", "gold", "sealed_", ""))?;
    instance.until("the backend", online)?;
    hidden()?;
    let first = instance.secret()?;
    ensure!(first.starts_with("secret/leister-backend-gold-"), "{first}");
    let held = site.kubectl(&["-n", NAMESPACE, "get", &first, "-o", "jsonpath={.data.record}"])?.ok()?;
    ensure!(String::from_utf8(STANDARD.decode(held.trim())?)?.contains(password));
    println!(
        "{}",
        site.kubectl(&["-n", NAMESPACE, "get", "backendrecords.leister.io/gold", "-o", "yaml"])?.ok()?
    );

    // A death, a change that is refused, one that is not.
    site.kill(INSTANCE)?;
    site.start_again(INSTANCE)?;
    instance.until("the backend again", online)?;
    let wrong = array_backend("ontap-nas", "gold", "sealed_", "").replace(password, "another-word");
    ensure!(instance.create(&wrong).is_err());
    ensure!(instance.secret()? == first);
    instance.create(&array_backend("ontap-nas", "gold", "sealed_", "limitVolumeSize: 2GiB\n"))?;
    ensure!(instance.secret()? != first);
    hidden()?;
    site.kill(INSTANCE)?;
    site.start_again(INSTANCE)?;
    instance.until("the backend once more", online)?;
    instance.ask(&["create", "volume", "v", "--size=32MiB"])?;
    ensure!(instance.ask(&["create", "volume", "w", "--size=3GiB"]).is_err(), "the change has come");
    instance.ask(&["delete", "volume", "v"])?;
    instance.ask(&["delete", "backend", "gold", "--yes"])?;
    until_none(&site, NAMESPACE)?;
    hidden()?;
    site.stop(INSTANCE)
}
