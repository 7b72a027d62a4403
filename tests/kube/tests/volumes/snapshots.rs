//! Snapshots, what is made of them, and clones.

use anyhow::{Result, ensure};
use kube_suite::{needs_the_machine, snapshot};

use crate::site::Site;

#[test]
fn a_snapshot_is_restored_and_a_claim_is_cloned_each_as_it_was() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.claim("origin", "")?;
    site.bound("origin")?;
    site.pod("origin-user", "origin", "echo old > /data/file; sync")?;
    site.ready("origin-user")?;
    site.apply(&snapshot("then", "origin"))?;
    site.wait("volumesnapshot/then", "jsonpath={.status.readyToUse}=true")?;
    site.exec("origin-user", "echo new > /data/file; sync")?;
    let from =
        |kind: &str, name: &str, group: &str| format!("dataSource: {{kind: {kind}, name: {name}{group}}}");
    site.claim("restored", &from("VolumeSnapshot", "then", ", apiGroup: snapshot.storage.k8s.io"))?;
    site.claim("cloned", &from("PersistentVolumeClaim", "origin", ""))?;
    for (claim, expected) in [("restored", "old"), ("cloned", "new")] {
        let pod = format!("{claim}-user");
        site.bound(claim)?;
        site.pod(&pod, claim, "")?;
        site.ready(&pod)?;
        let read = site.exec(&pod, "cat /data/file")?;
        ensure!(read == expected, "{claim}: {read:?}");
        site.exec(&pod, "echo other > /data/file; sync")?;
    }
    ensure!(site.exec("origin-user", "cat /data/file")? == "new", "the origin is untouched");
    let volumes = [site.volume("origin")?, site.volume("restored")?, site.volume("cloned")?];
    site.delete(&["volumesnapshot/then"])?;
    site.delete(&["pod/origin-user", "pod/restored-user", "pod/cloned-user"])?;
    site.delete(&["pvc/origin", "pvc/restored", "pvc/cloned"])?;
    site.gone(&volumes.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_snapshot_that_leister_took_is_brought_into_the_cluster_and_outlives_its_object_there() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.claim("known", "")?;
    site.bound("known")?;
    site.pod("known-user", "known", "echo old > /data/file; sync")?;
    site.ready("known-user")?;
    let volume = site.volume("known")?;
    site.leister(&["snapshot", &volume, "outside"])?.ok()?;
    site.exec("known-user", "echo new > /data/file; sync")?;
    site.apply(&format!(
        "apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotContent
metadata: {{name: brought}}
spec:
  driver: csi.leister.io
  deletionPolicy: Retain
  volumeSnapshotClassName: leister
  sourceVolumeMode: Filesystem
  source: {{snapshotHandle: {volume}/outside}}
  volumeSnapshotRef: {{name: brought, namespace: default}}
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {{name: brought}}
spec: {{volumeSnapshotClassName: leister, source: {{volumeSnapshotContentName: brought}}}}
"
    ))?;
    site.wait("volumesnapshot/brought", "jsonpath={.status.readyToUse}=true")?;
    let brought = site.get("volumesnapshot/brought")?["status"]["restoreSize"].clone();
    ensure!(brought == "64Mi", "{brought}");
    let source = "dataSource: {kind: VolumeSnapshot, name: brought, apiGroup: snapshot.storage.k8s.io}";
    site.claim("back", source)?;
    site.bound("back")?;
    site.pod("back-user", "back", "")?;
    site.ready("back-user")?;
    ensure!(site.exec("back-user", "cat /data/file")? == "old");
    site.delete(&["pod/back-user", "volumesnapshot/brought", "volumesnapshotcontent/brought"])?;
    let kept = site.leister(&["get", "snapshots", &volume, "-o", "name"])?.ok()?;
    ensure!(kept.contains("outside"), "it was to be retained: {kept}");
    site.leister(&["delete", "snapshot", &format!("{volume}/outside"), "--yes"])?.ok()?;
    let volumes = [volume, site.volume("back")?];
    site.delete(&["pod/known-user", "pvc/known", "pvc/back"])?;
    site.gone(&volumes.iter().map(String::as_str).collect::<Vec<_>>())
}
