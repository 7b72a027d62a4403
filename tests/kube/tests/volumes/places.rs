//! Volumes that can be reached from some places alone: this cluster's only node is in the zone `east`.

use std::fs;

use anyhow::{Result, ensure};
use kube_suite::needs_the_machine;

use crate::site::Site;

/// Classes of the pool in the zone `west`: how they bind, and which places they allow.
const CLASSES: [(&str, &str, &str); 5] = [
    ("far-west", "Immediate", "{key: topology.kubernetes.io/zone, values: [west]}"),
    ("far-east", "Immediate", "{key: topology.kubernetes.io/zone, values: [east]}"),
    ("far-mars", "Immediate", "{key: example.com/planet, values: [mars]}"),
    ("far-late-west", "WaitForFirstConsumer", "{key: topology.kubernetes.io/zone, values: [west]}"),
    ("far-late", "WaitForFirstConsumer", ""),
];
const UNREACHED: &str = "it cannot be reached from the topology asked for";

#[test]
fn a_topology_that_nothing_satisfies_is_told_to_the_claim_or_the_pod_and_nothing_is_made() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let backend = site.path("far.yaml");
    let pool = site.path("far");
    fs::write(
        &backend,
        format!(
            "version: 1\nstorageDriverName: linux\nbackendName: far\npool: {}\npoolSize: 1GiB\n\
             supportedTopologies: [{{zone: west}}]\n",
            pool.display()
        ),
    )?;
    site.leister(&["create", "backend", "--file", &backend.display().to_string()])?.ok()?;
    for (name, binding, term) in CLASSES {
        let terms =
            if term.is_empty() { "[]".to_owned() } else { format!("[{{matchLabelExpressions: [{term}]}}]") };
        site.apply(&format!(
            "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {name}}}\n\
             provisioner: csi.leister.io\nparameters: {{storagePools: \"far:.*\"}}\n\
             volumeBindingMode: {binding}\nallowedTopologies: {terms}\n"
        ))?;
        site.claim(&format!("in-{name}"), &format!("storageClassName: {name}"))?;
        site.pod(&format!("in-{name}"), &format!("in-{name}"), "")?;
    }
    for (object, told) in [
        // By what its class allows, and by where a pod's node is.
        ("in-far-east", UNREACHED),
        ("in-far-mars", UNREACHED),
        ("in-far-late", "did not have enough free storage"),
        ("in-far-late-west", "didn't find available persistent volumes to bind"),
        // It is where it was allowed to be, and no node is there.
        ("in-far-west", "didn't match PersistentVolume's node affinity"),
    ] {
        println!("{object}: {}", site.event(object, told)?);
    }
    site.bound("in-far-west")?;
    let made = site.leister(&["get", "volumes", "-o", "json"])?.ok()?;
    let (there, volume) =
        (made.replace(' ', "").matches("\"backend\":\"far\"").count(), site.volume("in-far-west")?);
    ensure!(there == 1 && made.contains(&volume), "{there}: {made}");

    let names = CLASSES.map(|(name, ..)| [format!("pod/in-{name}"), format!("pvc/in-{name}")]).concat();
    site.delete(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    site.delete(&CLASSES.map(|(name, ..)| format!("storageclass/{name}")).each_ref().map(String::as_str))?;
    site.gone(&[&volume])?;
    site.leister(&["delete", "backend", "far"])?.ok().map(drop)
}
