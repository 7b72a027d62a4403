//! The manifests of the case study, to the letter, and what came of them.

use std::time::Instant;

use anyhow::{Result, ensure};
use kube_suite::{CLASS_AND_CLAIM, needs_the_machine};
use serde_json::json;

use crate::site::Site;

/// The case study's pair, but for the claim's access mode: no Kubernetes gives `ReadWriteOnce` from a PV that has only
/// `ReadWriteMany`.
const STATIC_PAIR: &str = r"apiVersion: v1
kind: PersistentVolume
metadata:
  name: pv0003
spec:
  capacity:
    storage: 5Gi
  accessModes:
    - ReadWriteMany
  storageClassName: bronze
  nfs:
    path: /tmp
    server: 172.17.0.2
---
kind: PersistentVolumeClaim
apiVersion: v1
metadata:
  name: thepub
spec:
  accessModes:
    - ReadWriteMany
  resources:
    requests:
      storage: 5Gi
  storageClassName: bronze
";

#[test]
fn the_case_studys_claim_is_bound_to_the_volume_it_describes() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.apply(STATIC_PAIR)?;
    let started = Instant::now();
    site.apply(CLASS_AND_CLAIM)?;
    site.bound("nfs-test")?;
    println!("claim created -> Bound: {:.2?}, kubectl twice included", started.elapsed());
    let volume = site.volume("nfs-test")?;
    ensure!(volume == site.name_for("nfs-test")?, "{volume}");
    let handle = format!("trident_{}", volume.replace('-', "_"));

    let pv = site.get(&format!("pv/{volume}"))?;
    let spec = &pv["spec"];
    ensure!(spec["capacity"]["storage"] == "300Gi", "{spec}");
    ensure!(spec["accessModes"] == json!(["ReadWriteMany"]), "{spec}");
    ensure!(spec["persistentVolumeReclaimPolicy"] == "Delete", "{spec}");
    ensure!(spec["storageClassName"] == "basic", "{spec}");
    ensure!(spec["mountOptions"] == json!(["rw", "nfsvers=3", "proto=tcp", "soft", "timeo=180"]), "{spec}");
    ensure!(spec["nfs"] == json!({ "server": "100.1.33.236", "path": format!("/{handle}") }), "{spec}");
    ensure!(spec["claimRef"]["name"] == "nfs-test", "{spec}");
    ensure!(pv["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == "netapp.io/trident", "{pv}");
    println!("{}", site.event("nfs-test", &["Normal ProvisioningSuccess", &volume])?);

    let on_array = site.volume_on_array(&handle)?;
    ensure!(on_array["space"]["snapshot"]["reserve_percent"] == 5, "{on_array}");
    ensure!(on_array["size"] == 300_u64 << 30, "{on_array}");
    ensure!(on_array["space"]["afs_total"] == 285_u64 << 30, "what pods see: {on_array}");
    ensure!(on_array["guarantee"]["type"] == "volume", "thick: {on_array}");
    let policy = on_array["nas"]["export_policy"]["name"].clone();
    let policies = site.array(&format!(
        "protocols/nfs/export-policies?name={}&fields=rules.clients",
        policy.as_str().unwrap_or_default()
    ))?;
    let clients = policies["records"][0]["rules"][0]["clients"].clone();
    ensure!(clients == json!([{ "match": "10.99.0.1" }]), "the cluster's one node: {policies}");

    site.bound("thepub")?;
    ensure!(site.volume("thepub")? == "pv0003");

    site.delete(&["pvc/nfs-test", "pvc/thepub", "pv/pv0003"])?;
    site.gone(&volume)?;
    site.delete(&["storageclass/basic"])
}

#[test]
fn the_provisioner_may_do_no_more_than_it_does() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let account = "--as=system:serviceaccount:leister-provisioner:leister-provisioner";
    for (words, expected) in [
        (["create", "persistentvolumes", "-A"], "yes"),
        (["patch", "persistentvolumeclaims", "-A"], "no"),
        (["get", "secrets", "-nleister-provisioner"], "no"),
        (["create", "secrets", "-ndefault"], "no"),
        (["get", "pods", "-A"], "no"),
        (["patch", "nodes", "-A"], "no"),
        (["get", "leases", "-nkube-system"], "no"),
    ] {
        let said = site.kubectl(&[&["auth", "can-i", account][..], &words].concat())?;
        ensure!(said.out == expected, "{words:?}: {said:?}");
    }
    Ok(())
}
