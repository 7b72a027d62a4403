//! The PV that tells a kubelet how to reach a volume.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ISCSIPersistentVolumeSource, NFSVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeSpec, SecretReference,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use model::{Filesystem, IscsiRoute, NfsRoute, Route};
use orchestrator::VolumeRecord;

use crate::names::{BACKEND, FINALIZER, PROVISIONED_BY, label};
use crate::wish::Reclaim;

/// All that a PV is made of.
pub(crate) struct Draft<'a> {
    pub(crate) claim: &'a PersistentVolumeClaim,
    pub(crate) class: &'a str,
    pub(crate) record: &'a VolumeRecord,
    pub(crate) route: &'a Route,
    /// With the accounts of an iSCSI session.
    pub(crate) secret: Option<SecretReference>,
}

/// # Behavior
/// Capacity and access modes are the claim's, so that the PV controller binds the two; the volume may be larger by what
/// its backend rounds up.
///
/// # Errors
/// A route that no PV without a CSI driver can name.
pub(crate) fn build(draft: &Draft<'_>) -> Result<PersistentVolume, String> {
    let Draft { claim, record, .. } = draft;
    let asked = claim.spec.clone().unwrap_or_default();
    let label = |key: &str| record.spec.labels.get(key).cloned();
    let reclaim = Reclaim::read(label(label::RECLAIM).as_deref())?;
    let mut spec = PersistentVolumeSpec {
        access_modes: asked.access_modes,
        capacity: asked.resources.and_then(|resources| resources.requests),
        claim_ref: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: claim.namespace(),
            name: Some(claim.name_any()),
            uid: claim.uid(),
            ..ObjectReference::default()
        }),
        persistent_volume_reclaim_policy: Some(reclaim.as_str().to_owned()),
        storage_class_name: Some(draft.class.to_owned()),
        mount_options: Some(record.spec.mount_options.clone()).filter(|options| !options.is_empty()),
        volume_mode: asked.volume_mode,
        ..PersistentVolumeSpec::default()
    };
    match draft.route {
        Route::Nfs(route) => {
            if spec.mount_options.is_none() {
                spec.mount_options = Some(route.mount_options.clone()).filter(|options| !options.is_empty());
            }
            spec.nfs = Some(nfs(route));
        }
        Route::Iscsi(route) => spec.iscsi = Some(iscsi(route, record.spec.filesystem, draft.secret.clone())),
        Route::Nvme(_) => return Err(unreachable(record, "by NVMe over TCP")),
        Route::Local { .. } => return Err(unreachable(record, "on its own machine only")),
    }
    let mut annotations = BTreeMap::from([(BACKEND.to_owned(), record.backend.to_string())]);
    annotations.extend(label(label::PROVISIONER).map(|name| (PROVISIONED_BY.to_owned(), name)));
    Ok(PersistentVolume {
        metadata: ObjectMeta {
            name: Some(record.id.to_string()),
            annotations: Some(annotations),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

fn nfs(route: &NfsRoute) -> NFSVolumeSource {
    NFSVolumeSource { server: route.server.clone(), path: route.path.clone(), read_only: None }
}

fn iscsi(
    route: &IscsiRoute,
    filesystem: Option<Filesystem>,
    secret: Option<SecretReference>,
) -> ISCSIPersistentVolumeSource {
    let mut portals = route.portals.iter().cloned();
    let target_portal = portals.next().unwrap_or_default();
    ISCSIPersistentVolumeSource {
        target_portal,
        portals: Some(portals.collect()),
        iqn: route.target.clone(),
        lun: route.lun.into(),
        iscsi_interface: Some("default".to_owned()),
        fs_type: filesystem.map(|filesystem| filesystem.to_string()),
        chap_auth_discovery: secret.is_some().then_some(false),
        chap_auth_session: secret.is_some().then_some(true),
        secret_ref: secret,
        ..ISCSIPersistentVolumeSource::default()
    }
}

fn unreachable(record: &VolumeRecord, how: &str) -> String {
    format!(
        "backend `{}` offers volumes {how}, which a PV without a CSI driver cannot name; choose another backend with \
         storagePools or backendType in the StorageClass, or use a StorageClass of the CSI driver",
        record.backend
    )
}

#[cfg(test)]
mod tests {
    use model::{Chap, ChapAccount, LocalSource, Secret};
    use serde_json::{Value, json};

    use super::*;
    use crate::samples;

    fn built(record: Value, route: &Route, secret: Option<SecretReference>) -> Result<Value, String> {
        let claim = samples::claim(json!({}));
        let record = samples::record(record);
        let draft = Draft { claim: &claim, class: "basic", record: &record, route, secret };
        build(&draft).map(|volume| serde_json::to_value(volume).unwrap())
    }

    fn nfs_route(options: &[&str]) -> Route {
        Route::Nfs(NfsRoute {
            server: "100.1.33.236".into(),
            path: "/trident_default_nfs_test_9e6cb".into(),
            mount_options: options.iter().map(|option| (*option).to_owned()).collect(),
        })
    }

    #[test]
    fn the_case_studys_volume_becomes_its_pv() {
        let volume = built(json!({}), &nfs_route(&["hard"]), None).unwrap();
        assert_eq!(
            volume,
            json!({
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {
                    "name": "default-nfs-test-9e6cb",
                    "annotations": {
                        "pv.kubernetes.io/provisioned-by": "netapp.io/trident",
                        "leister.io/backend": "filer",
                    },
                    "finalizers": ["leister.io/provisioner"],
                },
                "spec": {
                    "accessModes": ["ReadWriteMany"],
                    "capacity": { "storage": "300Gi" },
                    "claimRef": {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": "default",
                        "name": "nfs-test",
                        "uid": "9e6cb0a1-0000-4000-8000-000000000000",
                    },
                    "mountOptions": ["rw", "nfsvers=3", "proto=tcp", "soft", "timeo=180"],
                    "nfs": { "server": "100.1.33.236", "path": "/trident_default_nfs_test_9e6cb" },
                    "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": "basic",
                },
            })
        );
    }

    #[test]
    fn the_backends_mount_options_hold_where_the_class_has_none() {
        let volume = built(json!({ "spec": { "mountOptions": [] } }), &nfs_route(&["hard"]), None).unwrap();
        assert_eq!(volume["spec"]["mountOptions"], json!(["hard"]));
        let volume = built(json!({ "spec": { "mountOptions": [] } }), &nfs_route(&[]), None).unwrap();
        assert_eq!(volume["spec"]["mountOptions"], Value::Null);
    }

    #[test]
    fn a_block_volume_names_all_portals_and_the_secret_but_never_what_is_in_it() {
        let account =
            |user: &str| ChapAccount { user: user.into(), secret: Secret::new("precious".to_owned()) };
        let route = Route::Iscsi(IscsiRoute {
            target: "iqn.1992-08.com.netapp:sn.1".into(),
            portals: vec!["192.0.2.1:3260".into(), "192.0.2.2:3260".into()],
            lun: 3,
            serial: "s".into(),
            chap: Some(Chap { initiator: account("in"), target: None }),
        });
        let secret = SecretReference { name: Some("chap".into()), namespace: Some("leister".into()) };
        let changes = json!({ "spec": { "layout": "block", "filesystem": "xfs", "labels": { "reclaim-policy": "Retain" } } });
        let volume = built(changes, &route, Some(secret)).unwrap();
        assert_eq!(
            volume["spec"]["iscsi"],
            json!({
                "targetPortal": "192.0.2.1:3260",
                "portals": ["192.0.2.2:3260"],
                "iqn": "iqn.1992-08.com.netapp:sn.1",
                "lun": 3,
                "iscsiInterface": "default",
                "fsType": "xfs",
                "chapAuthDiscovery": false,
                "chapAuthSession": true,
                "secretRef": { "name": "chap", "namespace": "leister" },
            })
        );
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        assert!(!volume.to_string().contains("precious"));
    }

    #[test]
    fn a_route_that_no_pv_can_name_is_refused_with_the_way_out() {
        let local = Route::Local { source: LocalSource::Directory { path: "/srv".into(), snapshots: None } };
        let problem = built(json!({}), &local, None).unwrap_err();
        assert!(problem.contains("`filer`") && problem.contains("storagePools"), "{problem}");
    }
}
