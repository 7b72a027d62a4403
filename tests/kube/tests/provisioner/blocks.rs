//! Volumes over iSCSI.

use anyhow::{Result, ensure};
use kube_suite::{NODE, needs_the_machine};
use serde_json::json;

use crate::site::Site;

const INITIATORS: [&str; 2] = ["iqn.1993-08.org.debian:01:node1", "iqn.1993-08.org.debian:01:node2"];

#[test]
fn a_block_volume_names_its_target_and_a_secret_and_lets_all_nodes_in() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.class("blocks", "parameters: {backendType: ontap-san, fsType: xfs}")?;
    // Before its node has said who it is, the claim is told what is missing.
    site.claim("disk", "", "storageClassName: blocks\n  accessModes: [ReadWriteOnce]")?;
    println!(
        "{}",
        site.event("disk", &["ProvisioningFailed", "iSCSI initiator name", "leister.io/initiator"])?
    );
    ensure!(site.on_array("blk_default_disk_")?.is_empty(), "nothing has changed on the array");
    let annotation = |initiator: &str| format!("leister.io/initiator={initiator}");
    site.kubectl(&["annotate", "node", NODE, &annotation(INITIATORS[0])])?.ok()?;
    site.apply(&format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: second, annotations: {{leister.io/initiator: '{}'}}}}\n",
        INITIATORS[1]
    ))?;
    site.bound("disk")?;
    let volume = site.volume("disk")?;
    let pv = site.get(&format!("pv/{volume}"))?;
    let iscsi = &pv["spec"]["iscsi"];
    ensure!(iscsi["fsType"] == "xfs" && iscsi["iscsiInterface"] == "default", "{iscsi}");
    ensure!(iscsi["iqn"].as_str().is_some_and(|iqn| iqn.starts_with("iqn.")), "{iscsi}");
    ensure!(iscsi["targetPortal"].as_str().is_some_and(|portal| portal.ends_with(":3260")), "{iscsi}");
    ensure!(iscsi["portals"].as_array().is_some_and(|others| !others.is_empty()), "{iscsi}");
    ensure!(iscsi["chapAuthSession"] == true, "{iscsi}");
    ensure!(iscsi["secretRef"]["namespace"] == "leister-provisioner", "{iscsi}");
    let name = iscsi["secretRef"]["name"].as_str().unwrap_or_default();
    let secret = site.kubectl(&["get", "secret", name, "-n", "leister-provisioner", "-o", "json"])?.ok()?;
    ensure!(secret.contains("kubernetes.io/iscsi-chap") && secret.contains("node.session.auth.password_in"));

    let groups = site.array("protocols/san/igroups?name=kubernetes.*&fields=initiators.name")?;
    let initiators = groups["records"][0]["initiators"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = initiators.iter().map(|initiator| initiator["name"].clone()).collect();
    ensure!(names == json!(INITIATORS).as_array().cloned().unwrap_or_default(), "{groups}");

    // A device, for whoever wants one.
    site.claim("raw", "", "storageClassName: blocks\n  accessModes: [ReadWriteOnce]\n  volumeMode: Block")?;
    site.bound("raw")?;
    let raw = site.volume("raw")?;
    let pv = site.get(&format!("pv/{raw}"))?;
    ensure!(pv["spec"]["volumeMode"] == "Block" && pv["spec"]["iscsi"]["fsType"].is_null(), "{pv}");
    site.delete(&["pvc/disk", "pvc/raw", "node/second", "storageclass/blocks"])?;
    site.gone(&volume)?;
    site.gone(&raw)
}
