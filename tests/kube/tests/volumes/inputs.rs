//! What is asked for and cannot be: told in an event, with nothing made.

use anyhow::{Result, ensure};
use kube_suite::{needs_the_machine, snapshot, until};

use crate::site::Site;

const CLASS: &str = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nprovisioner: csi.leister.io\n";

#[test]
fn what_is_wrong_with_a_class_is_told_to_the_claim() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let mut untold = Vec::new();
    for (class, parameters, told) in [
        ("typo", "snapshotDirr: \"true\"", "snapshotDirr"),
        ("elsewhere", "class: nowhere", "nowhere"),
        ("strange", "csi.storage.k8s.io/fstype: zfs", "zfs"),
        ("no-such-key", "backend: nowhere", "`backend`: unknown parameter"),
        ("no-such-kind", "backendType: ontap-nas", "ontap-nas"),
        ("no-such-media", "media: tape", "tape"),
        ("bad-mode", "unixPermissions: \"9999\"", "9999"),
        ("other-family", "snapshotReserve: \"5\"", "it does not know the option snapshotReserve"),
        (
            "no-secret",
            "csi.storage.k8s.io/provisioner-secret-name: nobody, csi.storage.k8s.io/provisioner-secret-namespace: default",
            "nobody",
        ),
    ] {
        site.apply(&format!("{CLASS}metadata: {{name: {class}}}\nparameters: {{{parameters}}}\n"))?;
        let claim = format!("of-{class}");
        site.claim(&claim, &format!("storageClassName: {class}"))?;
        match site.event(&claim, told) {
            Ok(said) => println!("{class}: {said}"),
            Err(error) => untold.push(format!("{error:#}")),
        }
        let phase = site.get(&format!("pvc/{claim}"))?["status"]["phase"].clone();
        ensure!(phase == "Pending", "{phase}");
        site.delete(&[&format!("pvc/{claim}"), &format!("storageclass/{class}")])?;
    }
    ensure!(untold.is_empty(), "{}", untold.join("\n"));
    nothing_was_made(&site, "of-")
}

#[test]
fn what_is_wrong_with_a_claim_is_told_to_it() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let ext4 = "csi.storage.k8s.io/fstype: ext4";
    site.apply(&format!("{CLASS}metadata: {{name: one-writer}}\nparameters: {{{ext4}}}\n"))?;
    site.claim("whole", "")?;
    site.bound("whole")?;
    site.apply(&snapshot("whole", "whole"))?;
    site.wait("volumesnapshot/whole", "jsonpath={.status.readyToUse}=true")?;
    let source = "dataSource: {kind: VolumeSnapshot, name: whole, apiGroup: snapshot.storage.k8s.io}";
    let little = "resources: {requests: {storage: 32Mi}}";
    let mut untold = Vec::new();
    for (name, more, told) in [
        ("huge", "resources: {requests: {storage: 1Ti}}", "1TiB were asked for"),
        (
            "shared",
            "storageClassName: one-writer\n  accessModes: [ReadWriteMany]",
            "several nodes cannot write one file system",
        ),
        ("less", &format!("{source}\n  {little}"), "is less than the size"),
        (
            "less-clone",
            &format!("dataSource: {{kind: PersistentVolumeClaim, name: whole}}\n  {little}"),
            "greater than or equal",
        ),
        ("device", &format!("volumeMode: Block\n  {source}"), "modifies the mode"),
        (
            "empty",
            "dataSource: {kind: VolumeSnapshot, name: nothing, apiGroup: snapshot.storage.k8s.io}",
            "\"nothing\" not found",
        ),
    ] {
        let claim = format!("wrong-{name}");
        site.claim(&claim, more)?;
        match site.event(&claim, told) {
            Ok(said) => println!("{name}: {said}"),
            Err(error) => untold.push(format!("{error:#}")),
        }
        let phase = site.get(&format!("pvc/{claim}"))?["status"]["phase"].clone();
        ensure!(phase == "Pending", "{phase}");
        site.delete(&[&format!("pvc/{claim}")])?;
    }
    ensure!(untold.is_empty(), "{}", untold.join("\n"));
    let volume = site.volume("whole")?;
    site.delete(&["pvc/whole"])?;
    // It has its volume's snapshot still; of a volume that is gone there is none to take.
    site.delete(&["volumesnapshot/whole"])?;
    site.gone(&[&volume])?;
    site.apply(&snapshot("late", "whole"))?;
    println!("late: {}", site.event("late", "cannot get claim from snapshot")?);
    site.delete(&["volumesnapshot/late", "storageclass/one-writer"])?;
    nothing_was_made(&site, "wrong-")
}

fn nothing_was_made(site: &Site, of: &str) -> Result<()> {
    until("no volume of these", crate::site::LIMIT, || {
        let known = site.leister(&["get", "volumes", "-o", "json"]).ok()?.ok().ok()?;
        (!known.contains(of)).then_some(())
    })
}
