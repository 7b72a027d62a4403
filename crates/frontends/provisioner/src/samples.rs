//! Objects for tests, as the apiserver would show them.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

/// The claim of the case study, waiting for us, with changes.
pub(crate) fn claim(changes: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "nfs-test",
            "namespace": "default",
            "uid": "9e6cb0a1-0000-4000-8000-000000000000",
            "annotations": { "volume.kubernetes.io/storage-provisioner": "netapp.io/trident" },
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": { "requests": { "storage": "300Gi" } },
            "storageClassName": "basic",
        },
        "status": { "phase": "Pending" },
    });
    change(&mut claim, changes);
    serde_json::from_value(claim).unwrap()
}

/// The class of the case study, with changes.
pub(crate) fn class(changes: Value) -> StorageClass {
    let mut class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": "basic" },
        "mountOptions": ["rw", "nfsvers=3", "proto=tcp", "soft", "timeo=180"],
        "parameters": { "backendType": "ontap-nas", "provisioningType": "thick" },
        "provisioner": "netapp.io/trident",
        "reclaimPolicy": "Delete",
    });
    change(&mut class, changes);
    serde_json::from_value(class).unwrap()
}

/// As a merge patch does it.
pub(crate) fn change(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    change(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, changes) => *into = changes,
    }
}

/// The record of the volume made for that claim, settled, with changes.
pub(crate) fn record(changes: Value) -> orchestrator::VolumeRecord {
    let mut record = json!({
        "format": 1,
        "id": "default-nfs-test-9e6cb",
        "backend": "filer",
        "pool": "aggr1",
        "handle": "trident_default_nfs_test_9e6cb",
        "spec": {
            "size": 322_122_547_200_u64,
            "layout": "file",
            "provisioning": "thick",
            "access": "ReadWriteMany",
            "mountOptions": ["rw", "nfsvers=3", "proto=tcp", "soft", "timeo=180"],
            "labels": {
                "provisioner": "netapp.io/trident",
                "namespace": "default",
                "pvc": "nfs-test",
                "pvc-uid": "9e6cb0a1-0000-4000-8000-000000000000",
                "pv": "default-nfs-test-9e6cb",
                "reclaim-policy": "Delete",
            },
        },
        "goal": "exist",
        "settled": true,
        "origin": "made",
        "created": "2018-06-01T00:00:00Z",
    });
    change(&mut record, changes);
    serde_json::from_value(record).unwrap()
}

/// The PV of that volume, bound to that claim, with changes.
pub(crate) fn volume(changes: Value) -> k8s_openapi::api::core::v1::PersistentVolume {
    let mut volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": "default-nfs-test-9e6cb",
            "annotations": { "pv.kubernetes.io/provisioned-by": "netapp.io/trident", "leister.io/backend": "filer" },
            "finalizers": ["leister.io/provisioner"],
        },
        "spec": {
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": { "namespace": "default", "name": "nfs-test", "uid": "9e6cb0a1-0000-4000-8000-000000000000" },
        },
        "status": { "phase": "Bound" },
    });
    change(&mut volume, changes);
    serde_json::from_value(volume).unwrap()
}
