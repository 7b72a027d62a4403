//! Mode `cluster`, by `helm`: controllers that are nobody, and a node's part.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{ARRAY_ACCOUNT, array_backend_without_account, needs_the_machine, until};
use serde_json::Value;

use crate::site::{LIMIT, NAMESPACE, Site, chart};
use crate::{rights, single};

#[test]
fn the_chart_installs_what_serves_claims_and_takes_away_what_it_brought() -> Result<()> {
    needs_the_machine!();
    let started = Instant::now();
    let site = Site::start()?;
    println!("cluster up with images in {:.1?}", started.elapsed());
    for step in [controllers_and_a_node, single::a_pod_uses_a_pool_of_the_node] {
        let started = Instant::now();
        step(&site)?;
        println!("done in {:.1?}", started.elapsed());
    }
    Ok(())
}

fn controllers_and_a_node(site: &Site) -> Result<()> {
    site.serve_array()?;
    site.kubectl(&["create", "namespace", NAMESPACE])?.ok()?;
    let label = "pod-security.kubernetes.io/enforce=privileged";
    site.kubectl(&["label", "namespace", NAMESPACE, label])?.ok()?;
    // The file of the backend as it is, but for the account, which a Secret has.
    let backend = site.path("ontap.yaml");
    let text = array_backend_without_account("ontap-nas", "array", "k_", "credentials: {name: svm1}\n");
    std::fs::write(&backend, text)?;
    let account = ARRAY_ACCOUNT.map(|(key, value)| format!("  {key}: {value}\n")).concat();
    site.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: svm1, namespace: {NAMESPACE}}}\nstringData:\n{account}"
    ))?;
    let more = "controller: {hostNetwork: true, topology: true}
node: {topology: [zone=east]}
backends: {credentials: [svm1]}
storageCapacity: true
storageClasses: [{name: leister}, {name: late, volumeBindingMode: WaitForFirstConsumer}]
";
    let values = site.values("cluster", more)?.display().to_string();
    let from_file = format!(r"backends.files.ontap\.yaml={}", backend.display());
    let chart = chart();
    let common = [&chart, "--namespace", NAMESPACE, "--values", &values, "--set-file", &from_file];
    site.helm(&site.helm, &[&["install", "leister"], &common[..]].concat())?.ok()?;
    site.pods_ready("controller", 2)?;
    site.pods_ready("node", 1)?;
    site.wait_for_plugin().with_context(|| site.story())?;
    site.claim("first")?;
    let made = site.array("storage/volumes?name=k_*")?;
    ensure!(made["num_records"] == 1, "{made}");
    let words =
        ["-n", NAMESPACE, "get", "csistoragecapacities", "-o", "jsonpath={.items[*].storageClassName}"];
    until("room to be told", LIMIT, || site.kubectl(&words).ok()?.ok().ok().filter(|told| told == "late"))?;

    rights::are_no_more_than_needed(site)?;
    controllers_keep_to_the_restricted_profile(site)?;

    // The same again changes nothing.
    let before = written(site)?;
    ensure!(before.len() > 12, "{before:?}");
    site.helm(&site.helm, &[&["upgrade", "leister"], &common[..]].concat())?.ok()?;
    for (name, after) in written(site)? {
        let before = before.get(&name).map(String::as_str).unwrap_or_default();
        ensure!(before == after, "{name} was changed:\n{before}\n{after}");
    }

    a_second_release_of_the_name_is_refused(site)?;
    site.unclaim("first")?;
    let made = site.array("storage/volumes?name=k_*")?;
    ensure!(made["num_records"] == 0, "{made}");
    let wait = format!("--timeout={}s", LIMIT.as_secs());
    site.helm(&site.helm, &["uninstall", "leister", "--namespace", NAMESPACE, "--wait", &wait])?.ok()?;
    site.nothing_left()?;
    // The records are the only way back to the volumes.
    let kept = site.kubectl(&["get", "crds", "-o", "name"])?.ok()?;
    ensure!(kept.contains("volumes.leister.io"), "{kept}");
    site.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=120s"])?.ok().map(drop)
}

/// It would take what the first one has.
fn a_second_release_of_the_name_is_refused(site: &Site) -> Result<()> {
    let chart = chart();
    let words = [
        "--namespace",
        "second",
        "--create-namespace",
        "--set=crds.install=false",
        "--set=storageClasses=null",
    ];
    let install = [&["install", "second", &chart], &words[..]].concat();
    let said = site.helm(&site.helm, &install)?.refused()?;
    println!("{said}");
    ensure!(said.contains("CSIDriver \"csi.leister.io\"") && said.contains("exists"), "{said}");
    site.kubectl(&["delete", "namespace", "second", "--ignore-not-found", "--timeout=120s"])?.ok().map(drop)
}

/// What an administrator has written, by object: what programs report is left out.
fn written(site: &Site) -> Result<BTreeMap<String, String>> {
    let manifest = site.helm(&site.helm, &["get", "manifest", "leister", "--namespace", NAMESPACE])?.ok()?;
    let file = site.path("manifest.yaml");
    std::fs::write(&file, manifest)?;
    let words = ["get", "-n", NAMESPACE, "-f", &file.display().to_string(), "-o", "json"];
    let said = site.kubectl(&words)?.ok()?;
    let mut list: Value = serde_json::from_str(&said)?;
    let items = list["items"].as_array_mut().context("no list")?;
    let object = |item: &mut Value| {
        let name = format!("{}/{}", item["kind"], item["metadata"]["name"]);
        if let Some(item) = item.as_object_mut() {
            item.remove("status");
        }
        if let Some(metadata) = item["metadata"].as_object_mut() {
            // With a generation its version changes with the status too.
            metadata.retain(|key, _| key != "managedFields");
            if metadata.contains_key("generation") {
                metadata.remove("resourceVersion");
            }
        }
        (name, item.to_string())
    };
    Ok(items.iter_mut().map(object).collect())
}

/// As they are where pods have a network: in this cluster they use the node's.
fn controllers_keep_to_the_restricted_profile(site: &Site) -> Result<()> {
    let values = site.values("strict", "")?.display().to_string();
    let words = [
        "leister",
        &chart(),
        "--namespace=strict",
        "--values",
        &values,
        "--show-only=templates/controller.yaml",
    ];
    let rendered = site.helm.template(&words)?;
    let file = site.path("strict.yaml");
    std::fs::write(&file, rendered)?;
    site.apply(
        "{apiVersion: v1, kind: Namespace, metadata: {name: strict,
          labels: {pod-security.kubernetes.io/warn: restricted}}}",
    )?;
    let words = ["apply", "--dry-run=server", "-f", &file.display().to_string()];
    let said = site.kubectl(&words)?;
    ensure!(!said.err.contains("PodSecurity"), "{said:?}");
    ensure!(said.ok()?.contains("statefulset"));
    // The judge is awake: pods that mount for a node do not.
    let words =
        ["leister", &chart(), "--namespace=strict", "--values", &values, "--show-only=templates/node.yaml"];
    std::fs::write(&file, site.helm.template(&words)?)?;
    let warned = site.kubectl(&["apply", "--dry-run=server", "-f", &file.display().to_string()])?;
    ensure!(warned.err.contains("PodSecurity"), "{warned:?}");
    site.kubectl(&["delete", "namespace", "strict", "--timeout=120s"])?.ok().map(drop)
}
