//! Snapshots of several claims at one instant, on a simulated array: the pool of this machine cannot take them.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{array_backend, claim, needs_the_machine, until};
use serde_json::Value;

use crate::site::{LIMIT, Site};

const CLASS: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: on-array}
provisioner: csi.leister.io
parameters: {storagePools: 'array:.*'}
";
const TOGETHER: &str = "
apiVersion: groupsnapshot.storage.k8s.io/v1
kind: VolumeGroupSnapshot
metadata: {name: then}
spec:
  volumeGroupSnapshotClassName: leister
  source: {selector: {matchLabels: {app: ledger}}}
";

#[test]
fn claims_with_a_label_are_snapshotted_together_one_is_restored_and_nothing_stays() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    // Others must not get their volumes from the array.
    let _alone = site.alone();
    site.serve_array()?;
    let file = site.path("array.yaml");
    fs::write(&file, array_backend("ontap-nas", "array", "t_", "defaults: {snapshotPolicy: none}\n"))?;
    site.leister(&["create", "-f", &file.display().to_string()])?.ok()?;
    until("the backend", LIMIT, || {
        let shown = site.leister(&["get", "backend", "array"]).ok()?.ok().ok()?;
        shown.contains("online").then_some(())
    })?;
    site.apply(CLASS)?;
    let labelled = |name: &str| {
        let text = claim(name, "storageClassName: on-array\n  accessModes: [ReadWriteMany]");
        text.replacen(&format!("{{name: {name}}}"), &format!("{{name: {name}, labels: {{app: ledger}}}}"), 1)
    };
    for name in ["books", "journal"] {
        site.apply(&labelled(name))?;
        site.bound(name)?;
    }
    let started = std::time::Instant::now();
    site.apply(TOGETHER)?;
    site.wait("volumegroupsnapshot/then", "jsonpath={.status.readyToUse}=true")?;
    println!("two claims snapshotted together: {:.2?} from the wish to ready", started.elapsed());
    let volumes = [site.volume("books")?, site.volume("journal")?];
    let shown = site.leister(&["get", "snapshots", "-o", "json"])?.ok()?;
    let shown: Value = serde_json::from_str(&shown)?;
    let group = &shown["items"][0]["group"];
    let mut group: Vec<&str> =
        group.as_array().context("it is no group")?.iter().filter_map(Value::as_str).collect();
    group.sort_unstable();
    let mut wanted: Vec<&str> = volumes.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    ensure!(group == wanted, "{shown}");
    ensure!(on_array(&site)? == (2, 0), "a snapshot of each volume, and no group stays on the array");

    // Each is a snapshot by itself, too.
    let members = site.get("volumesnapshots")?;
    let member = members["items"].as_array().into_iter().flatten().find(|snapshot| {
        snapshot["status"]["readyToUse"] == true && snapshot["status"]["volumeGroupSnapshotName"] == "then"
    });
    let member = member.and_then(|snapshot| snapshot["metadata"]["name"].as_str());
    let member = member.with_context(|| format!("no member is ready: {members}"))?;
    let from = format!(
        "storageClassName: on-array\n  accessModes: [ReadWriteMany]\n  dataSource: {{kind: VolumeSnapshot, name: \
         {member}, apiGroup: snapshot.storage.k8s.io}}"
    );
    site.claim("restored", &from)?;
    site.bound("restored")?;
    let restored = site.volume("restored")?;
    site.delete(&["pvc/restored"])?;

    site.delete(&["volumegroupsnapshot/then"])?;
    until("the snapshots to go", LIMIT, || {
        let left = site.leister(&["get", "snapshots", "-o", "name"]).ok()?.ok().ok()?;
        left.is_empty().then_some(())
    })
    .with_context(|| site.evidence())?;
    site.delete(&["pvc/books", "pvc/journal"])?;
    site.gone(&[&volumes[0], &volumes[1], &restored])?;
    ensure!(on_array(&site)? == (0, 0), "{}", site.array("storage/volumes")?);
    let left = site.array("storage/volumes?name=t_*")?;
    ensure!(left["num_records"] == 0, "{left}");
    site.delete(&["storageclass/on-array"])?;
    site.leister(&["delete", "backend", "array"])?.ok()?;
    Ok(())
}

/// Snapshots of volumes and consistency groups there.
fn on_array(site: &Site) -> Result<(u64, u64)> {
    let volumes = site.array("storage/volumes?name=t_*")?;
    let mut snapshots = 0;
    for volume in volumes["records"].as_array().into_iter().flatten() {
        let uuid = volume["uuid"].as_str().context("a volume has a UUID")?;
        let listed = site.array(&format!("storage/volumes/{uuid}/snapshots"))?;
        snapshots += listed["num_records"].as_u64().context("no number")?;
    }
    let groups = site.array("application/consistency-groups")?;
    Ok((snapshots, groups["num_records"].as_u64().context("no number")?))
}
