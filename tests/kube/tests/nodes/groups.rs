//! Snapshots of several claims at one instant, while a pod writes to them over the wires.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{CONTROLLERS, FILES, claim, pod, until};
use serde_json::Value;

use crate::site::{LIMIT, Site, on_site};

const CLAIMS: [&str; 2] = ["books", "journal"];
/// A number is in the journal only when it is in the books, whatever happens.
const WRITES: &str =
    "(n=0; while n=$((n+1)); echo $n >>/data/n && sync && echo $n >>/journal/n && sync; do :; done) &
    until [ -s /journal/n ]; do sleep 0.2; done";

#[test]
fn claims_that_a_pod_writes_to_are_snapshotted_at_one_instant_over_nfs_and_over_iscsi() -> Result<()> {
    on_site(|site| {
        for (driver, mounted) in [("ontap-nas", "nfs"), ("ontap-san", "ext4")] {
            scene(site, driver, mounted).with_context(|| driver.to_owned())?;
        }
        let left = site.array()?.ask("GET", "/storage/volumes?name=group_*", None)?;
        ensure!(left["num_records"] == 0, "left on the array: {left}");
        Ok(())
    })
}

fn scene(site: &Site, driver: &str, mounted: &str) -> Result<()> {
    let cluster = &site.cluster;
    let [_, follower] = CONTROLLERS;
    let server = format!("unix://{}", cluster.path(&format!("{follower}.rest.sock")).display());
    let leister = |words: &[&str]| cluster.leister(&[words, &["--server", &server]].concat())?.ok();
    let file = cluster.path("group.yaml");
    let more = "storagePrefix: group_\ndefaults: {snapshotPolicy: none, skipRecoveryQueue: \"true\"}\n";
    fs::write(&file, site.array()?.backend(driver, driver, more))?;
    leister(&["create", "-f", &file.display().to_string()])?;
    cluster.apply(&format!(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {driver}}}\n\
         provisioner: csi.leister.io\nparameters: {{storagePools: '{driver}:.*'}}\n"
    ))?;

    for name in CLAIMS {
        let labelled = format!("{{name: {name}, labels: {{app: ledger}}}}");
        let text = claim(name, &format!("storageClassName: {driver}"));
        cluster.apply(&text.replacen(&format!("{{name: {name}}}"), &labelled, 1))?;
    }
    user(site, "writer", "node1", CLAIMS, WRITES)?;
    ensure!(site.exec("writer", "grep ' /journal ' /proc/mounts")?.contains(mounted));
    cluster.apply(
        "apiVersion: groupsnapshot.storage.k8s.io/v1\nkind: VolumeGroupSnapshot\nmetadata: {name: then}\n\
         spec:\n  volumeGroupSnapshotClassName: leister\n  source: {selector: {matchLabels: {app: ledger}}}\n",
    )?;
    cluster.wait("volumegroupsnapshot/then", "jsonpath={.status.readyToUse}=true")?;
    let after = last(&site.exec("writer", "cat /data/n")?)?;

    let copies = CLAIMS.map(|name| format!("{name}-then"));
    for (name, copy) in CLAIMS.iter().zip(&copies) {
        let member = until("a ready member of the group", LIMIT, || member(site, name))?;
        let source = format!(
            "dataSource: {{kind: VolumeSnapshot, name: {member}, apiGroup: snapshot.storage.k8s.io}}"
        );
        site.claim(copy, &format!("storageClassName: {driver}\n  {source}"))?;
    }
    user(site, "reader", "node2", copies.each_ref().map(String::as_str), "")?;
    let [books, journal] = ["data", "journal"]
        .map(|at| site.exec("reader", &format!("cat /{at}/n")).and_then(|read| last(&read)));
    let (books, journal) = (books?, journal?);
    println!("{driver}: {books} in the books and {journal} in the journal, {after} a while later");
    ensure!(books == journal || books == journal + 1, "not of one instant: {books} and {journal}");
    ensure!((1..=after).contains(&journal), "{journal} of {after}");
    let written = || last(&site.exec("writer", "cat /journal/n").ok()?).ok();
    until("the writer to go on", LIMIT, || written().filter(|written| *written > after))?;

    site.delete(&["pod/writer", "pod/reader", "volumegroupsnapshot/then"])?;
    let claims = CLAIMS.map(str::to_owned).into_iter().chain(copies).map(|name| format!("pvc/{name}"));
    let claims: Vec<String> = claims.collect();
    site.delete(&claims.iter().map(String::as_str).collect::<Vec<_>>())?;
    until("the backend to be let go", LIMIT, || leister(&["delete", "backend", driver, "--yes"]).ok())?;
    site.delete(&[&format!("storageclass/{driver}")])
}

/// A pod on a node with both claims, ready.
fn user(site: &Site, name: &str, node: &str, claims: [&str; 2], script: &str) -> Result<()> {
    let there = format!("nodeSelector: {{kubernetes.io/hostname: {node}}}");
    let places = FILES.replace("}]", "}, {name: journal, mountPath: /journal}]");
    let second =
        format!("volumes: [{{name: journal, persistentVolumeClaim: {{claimName: {}}}}}, ", claims[1]);
    let text = pod(name, claims[0], script, &places, &[&there]);
    site.cluster.apply(&text.replace("volumes: [", &second))?;
    site.ready(name).map(drop)
}

/// The snapshot of a claim that is part of the group, when it is ready.
fn member(site: &Site, claim: &str) -> Option<String> {
    let snapshots = site.cluster.get("volumesnapshots").ok()?;
    let found = snapshots["items"].as_array()?.iter().find(|snapshot| {
        let status = &snapshot["status"];
        snapshot["spec"]["source"]["persistentVolumeClaimName"] == claim
            && status["readyToUse"] == true
            && status["volumeGroupSnapshotName"] == "then"
    });
    found.map(|snapshot: &Value| &snapshot["metadata"]["name"])?.as_str().map(str::to_owned)
}

/// The last number that is there whole.
fn last(numbers: &str) -> Result<u64> {
    let number = numbers.lines().last().context("nothing is there")?;
    number.trim().parse().with_context(|| format!("`{number}` is no number"))
}
