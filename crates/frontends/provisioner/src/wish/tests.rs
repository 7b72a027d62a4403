use serde_json::{Value, json};

use super::*;
use crate::samples;

fn wish(claim: Value, class: Value) -> Result<Wish, String> {
    read(&samples::claim(claim), &samples::class(class))
}

fn annotated(annotations: Value) -> Result<Wish, String> {
    wish(json!({ "metadata": { "annotations": annotations } }), json!({}))
}

#[test]
fn the_case_studys_claim_and_class_are_understood() {
    let wish = wish(json!({}), json!({})).unwrap();
    let request = wish.request;
    assert_eq!(request.volume.as_str(), "default-nfs-test-9e6cb");
    assert_eq!(request.size, Some(Bytes::gib(300)));
    assert_eq!(request.access, Some(AccessMode::ReadWriteMany));
    assert_eq!(request.mount_options, ["rw", "nfsvers=3", "proto=tcp", "soft", "timeo=180"]);
    let parameters: Vec<_> =
        request.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(parameters, [("backendType", "ontap-nas"), ("provisioningType", "thick")]);
    assert_eq!((request.layout, request.filesystem, wish.reclaim), (None, None, Reclaim::Delete));
    assert_eq!(request.labels["pvc"], "nfs-test");
    assert_eq!(request.labels["pvc-uid"], "9e6cb0a1-0000-4000-8000-000000000000");
}

#[test]
fn several_access_modes_are_the_widest() {
    let modes = json!({ "spec": { "accessModes": ["ReadWriteOnce", "ReadOnlyMany"] } });
    assert_eq!(wish(modes, json!({})).unwrap().request.access, Some(AccessMode::ReadWriteMany));
}

#[test]
fn annotations_of_a_claim_hold_over_its_class() {
    let wish = annotated(json!({
        "trident.netapp.io/reclaimPolicy": "Retain",
        "trident.netapp.io/cloneFromPVC": "origin",
        "trident.netapp.io/splitOnClone": "true",
        "trident.netapp.io/snapshotPolicy": "daily",
        "trident.netapp.io/snapshotDirectory": "true",
        "trident.netapp.io/unixPermissions": "0770",
        "trident.netapp.io/spaceReserve": "volume",
        "leister.io/exportPolicy": "mine",
        "example.org/other": "is not ours",
    }))
    .unwrap();
    assert_eq!(wish.reclaim, Reclaim::Retain);
    assert_eq!(wish.request.labels["reclaim-policy"], "Retain");
    assert_eq!(wish.clone_of.as_deref(), Some("origin"));
    assert_eq!(wish.request.provisioning, Some(Provisioning::Thick));
    let options: Vec<_> =
        wish.request.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    for expected in [
        ("splitOnClone", "true"),
        ("snapshotPolicy", "daily"),
        ("snapshotDir", "true"),
        ("exportPolicy", "mine"),
    ] {
        assert!(options.contains(&expected), "{expected:?} in {options:?}");
    }
}

#[test]
fn a_block_volume_has_a_file_system_unless_its_claim_wants_a_device() {
    let block = json!({ "trident.netapp.io/protocol": "block" });
    let request = annotated(block.clone()).unwrap().request;
    assert_eq!((request.layout, request.filesystem), (Some(Layout::Block), Some(Filesystem::Ext4)));
    let of_class = json!({ "parameters": { "fsType": "xfs" } });
    let request = wish(json!({ "metadata": { "annotations": block } }), of_class).unwrap().request;
    assert_eq!(request.filesystem, Some(Filesystem::Xfs));
    let device = json!({ "spec": { "volumeMode": "Block", "accessModes": ["ReadWriteOnce"] } });
    let request = wish(device, json!({})).unwrap().request;
    assert_eq!((request.layout, request.filesystem), (Some(Layout::Block), None));
}

#[test]
fn a_copy_is_also_wished_for_by_data_source() {
    let from = json!({ "spec": { "dataSource": { "kind": "PersistentVolumeClaim", "name": "origin" } } });
    assert_eq!(wish(from, json!({})).unwrap().clone_of.as_deref(), Some("origin"));
}

#[test]
fn mistakes_name_the_field_its_value_and_the_way_out() {
    let note = |key: &str, value: &str| json!({ "metadata": { "annotations": { key: value } } });
    for (claim, class, parts) in [
        (
            note("trident.netapp.io/snapshotPolcy", "x"),
            json!({}),
            ["snapshotPolcy", "did you mean `snapshotPolicy`?"],
        ),
        (note("leister.io/zzzzzz", "x"), json!({}), ["zzzzzz", "cloneFromPVC"]),
        (note("trident.netapp.io/reclaimPolicy", "Recycle"), json!({}), ["`Recycle`", "Delete or Retain"]),
        (note("trident.netapp.io/protocol", "smb"), json!({}), ["`smb`", "file or block"]),
        (note("trident.netapp.io/fileSystem", "ntfs"), json!({}), ["`ntfs`", "known: ext3"]),
        (note("trident.netapp.io/spaceReserve", "half"), json!({}), ["`half`", "known: thin"]),
        (
            json!({ "spec": { "accessModes": ["ReadWriteOncePod"] } }),
            json!({}),
            ["ReadWriteOncePod", "ReadWriteOnce"],
        ),
        (json!({ "spec": { "accessModes": [] } }), json!({}), ["accessModes", "ReadWriteMany"]),
        (
            json!({ "spec": { "resources": { "requests": { "storage": "0" } } } }),
            json!({}),
            ["storage", "10Gi"],
        ),
        (json!({ "metadata": { "name": "x".repeat(200) } }), json!({}), ["at most 200", "shorter name"]),
        (json!({}), json!({ "reclaimPolicy": "Recycle" }), ["StorageClass `basic`", "Delete or Retain"]),
        (json!({}), json!({ "parameters": { "class": "a b" } }), ["StorageClass `basic`", "`class`"]),
        (
            json!({ "spec": { "dataSource": { "kind": "VolumeSnapshot", "name": "s" } } }),
            json!({}),
            ["VolumeSnapshot", "PersistentVolumeClaim"],
        ),
        (
            json!({ "spec": { "volumeMode": "Block" }, "metadata": { "annotations": { "leister.io/protocol": "file" } } }),
            json!({}),
            ["volumeMode", "leave one of them out"],
        ),
    ] {
        let problem = wish(claim, class).unwrap_err();
        assert!(parts.iter().all(|part| problem.contains(part)), "{parts:?}: {problem}");
    }
}
