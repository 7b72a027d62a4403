//! What a claim can ask for, and what it is told when that cannot be.

use anyhow::{Result, ensure};
use kube_suite::{metrics, needs_the_machine};
use serde_json::json;

use crate::site::Site;

#[test]
fn a_claim_is_cloned_by_annotation_and_by_data_source() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.plain()?;
    site.claim("origin", "", "")?;
    site.bound("origin")?;
    let by_note = "trident.netapp.io/cloneFromPVC: origin";
    site.claim("copy", by_note, "")?;
    site.claim("apart", &format!("{by_note}, trident.netapp.io/splitOnClone: 'true'"), "")?;
    site.claim("newer", "", "dataSource: {kind: PersistentVolumeClaim, name: origin}")?;
    let origin = site.volume("origin")?;
    for claim in ["copy", "newer", "apart"] {
        site.bound(claim)?;
        let volume = site.volume(claim)?;
        let record = site.ask(&["get", "volume", &volume, "-o", "json"])?;
        ensure!(record.contains(&origin), "{claim} is a copy of {origin}: {record}");
        site.volume_on_array(&format!("trident_{}", volume.replace('-', "_")))?;
    }

    // Of another class it is none; nor of what is not there.
    site.class("other", "")?;
    site.claim("mixed", by_note, "storageClassName: other")?;
    println!("{}", site.event("mixed", &["Warning ProvisioningFailed", "`origin`", "`plain`", "`other`"])?);
    site.claim("orphan", "trident.netapp.io/cloneFromPVC: nobody", "")?;
    println!("{}", site.event("orphan", &["Warning ProvisioningFailed", "`nobody`", "no such claim"])?);
    let [copy, newer, apart] = ["copy", "newer", "apart"].map(|claim| site.volume(claim));
    let copies = [copy?, newer?, apart?];
    site.delete(&["pvc/mixed", "pvc/orphan", "pvc/copy", "pvc/newer", "pvc/apart"])?;
    for volume in &copies {
        site.gone(volume)?;
    }
    site.delete(&["pvc/origin", "storageclass/other"])?;
    site.gone(&origin)
}

#[test]
fn annotations_of_a_claim_and_the_default_class_are_followed() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.apply(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata:\n  name: usual\n  annotations:\n    \
         storageclass.kubernetes.io/is-default-class: 'true'\nprovisioner: netapp.io/trident\n\
         parameters: {backendType: ontap-nas}\n",
    )?;
    let notes = "trident.netapp.io/unixPermissions: '0750', trident.netapp.io/snapshotDirectory: 'true', \
                 trident.netapp.io/spaceReserve: volume";
    site.apply(&format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: noted, annotations: {{{notes}}}}}\n\
         spec: {{accessModes: [ReadWriteOnce, ReadOnlyMany], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    ))?;
    site.bound("noted")?;
    let volume = site.volume("noted")?;
    let pv = site.get(&format!("pv/{volume}"))?;
    ensure!(pv["spec"]["storageClassName"] == "usual", "{pv}");
    ensure!(pv["spec"]["accessModes"] == json!(["ReadWriteOnce", "ReadOnlyMany"]), "{pv}");
    let on_array = site.volume_on_array(&format!("trident_{}", volume.replace('-', "_")))?;
    ensure!(on_array["guarantee"]["type"] == "volume", "{on_array}");
    ensure!(on_array["snapshot_directory_access_enabled"] == true, "{on_array}");
    ensure!(on_array["nas"]["unix_permissions"] == 750, "{on_array}");
    let metrics = metrics(&site.socket())?;
    let told = format!(r#"pvc="noted",pv="{volume}",storage_class="usual"}} 1"#);
    ensure!(metrics.contains(&told), "no {told} in {metrics}");
    // Several access modes are the widest.
    let record = site.ask(&["get", "volume", &volume, "-o", "json"])?;
    ensure!(record.contains("\"ReadWriteMany\"") && record.contains("\"noted\""), "{record}");
    // The old annotation names a class as well.
    site.plain()?;
    let old = "volume.beta.kubernetes.io/storage-class: plain";
    site.apply(&format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: old, annotations: {{{old}}}}}\n\
         spec: {{accessModes: [ReadWriteMany], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    ))?;
    site.bound("old")?;
    let second = site.volume("old")?;
    ensure!(site.get(&format!("pv/{second}"))?["spec"]["storageClassName"] == "plain");
    site.delete(&["pvc/noted", "pvc/old", "storageclass/usual"])?;
    site.gone(&volume)?;
    site.gone(&second)
}

#[test]
fn what_is_wrong_is_told_to_the_claim_and_changes_nothing_on_the_array() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.plain()?;
    site.class("typo", "parameters: {backendTyp: ontap-nas}")?;
    site.class("elsewhere", "parameters: {storagePools: 'filer:nowhere'}")?;
    site.class("strange", "reclaimPolicy: Retain\nparameters: {media: tape}")?;
    let note = |key: &str, value: &str| format!("trident.netapp.io/{key}: {value}");
    let cases: [(&str, String, &str, [&str; 3]); 11] = [
        (
            "w-typo",
            String::new(),
            "storageClassName: typo",
            ["ProvisioningFailed", "backendTyp", "`backendType`"],
        ),
        (
            "w-pool",
            String::new(),
            "storageClassName: elsewhere",
            ["ProvisioningFailed", "filer", "storagePools"],
        ),
        (
            "w-media",
            String::new(),
            "storageClassName: strange",
            ["ProvisioningFailed", "media", "hdd, hybrid or ssd"],
        ),
        ("w-class", String::new(), "storageClassName: absent", ["ProvisioningFailed", "absent", "not found"]),
        (
            "w-selector",
            String::new(),
            "selector: {matchLabels: {a: b}}",
            ["IgnoredClaim", "selector", "leave it out"],
        ),
        (
            "w-note",
            note("snapshotPolcy", "x"),
            "",
            ["ProvisioningFailed", "snapshotPolcy", "`snapshotPolicy`"],
        ),
        (
            "w-reclaim",
            note("reclaimPolicy", "Keep"),
            "",
            ["ProvisioningFailed", "`Keep`", "Delete or Retain"],
        ),
        ("w-protocol", note("protocol", "block"), "", ["ProvisioningFailed", "block volume", ""]),
        ("w-fs", note("fileSystem", "ntfs"), "", ["ProvisioningFailed", "`ntfs`", "ext4"]),
        (
            "w-pod",
            String::new(),
            "accessModes: [ReadWriteOncePod]",
            ["ProvisioningFailed", "ReadWriteOncePod", "ReadWriteOnce"],
        ),
        (
            "w-huge",
            note("spaceReserve", "volume"),
            "resources: {requests: {storage: 90Ti}}",
            ["ProvisioningFailed", "aggr1", "85.50TiB"],
        ),
    ];
    for (claim, notes, more, _) in &cases {
        site.claim(claim, notes, more)?;
    }
    for (claim, _, _, parts) in &cases {
        println!("{claim}: {}", site.event(claim, parts)?);
        ensure!(site.phase(&format!("pvc/{claim}"))? == "Pending");
    }
    ensure!(site.on_array("_w_")?.is_empty(), "{:?}", site.on_array("_w_")?);
    for (claim, ..) in &cases {
        site.delete(&[&format!("pvc/{claim}")])?;
    }
    site.delete(&["storageclass/typo", "storageclass/elsewhere", "storageclass/strange"])
}
