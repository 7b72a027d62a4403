//! `csi-sanity`, the test suite of the CSI project, against `leister run`.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::go;
use crate::pools::may_make_pools;
use crate::rig::Rig;

/// Why a test may be skipped: the plugin does not claim what it is about.
const NOT_CLAIMED: [&str; 2] =
    ["GroupControllerService not supported", "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported"];

#[test]
fn csi_sanity_passes_with_files() {
    judge("mount");
}

#[test]
fn csi_sanity_passes_with_raw_devices() {
    judge("block");
}

fn judge(access_type: &str) {
    if !may_make_pools() {
        return;
    }
    let Some(sanity) = go::sanity() else { return };
    let mut rig = Rig::bare();
    let endpoint = format!("unix://{}", rig.path("csi.sock").display());
    rig.serve(&["--csi-endpoint", &endpoint, "--topology", "zone=here", "--csi-max-volumes", "4"]);
    // What lies on a device is not the storage's to change.
    let changes = if access_type == "mount" { "unixPermissions: \"0750\"\n" } else { "{}\n" };
    let changes = rig.write("changes.yaml", changes);
    let report = rig.path("report.json");
    let output = Command::new(sanity)
        .args(["--ginkgo.no-color", "--ginkgo.json-report"])
        .arg(&report)
        .args(["--csi.endpoint", &endpoint, "--csi.testvolumeaccesstype", access_type])
        .args(["--csi.testvolumesize", "16777216", "--csi.testvolumeexpandsize", "33554432"])
        .args(["--csi.testvolumemutableparameters", &changes, "--csi.testnodevolumeattachlimit"])
        .arg("--csi.mountdir")
        .arg(rig.path("mount"))
        .arg("--csi.stagingdir")
        .arg(rig.path("staging"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for spec in report[0]["SpecReports"].as_array().unwrap() {
        // Set-up of the whole is no test.
        if spec["LeafNodeType"] != "It" {
            continue;
        }
        let state = spec["State"].as_str().unwrap().to_owned();
        if state == "skipped" {
            let reason = spec["Failure"]["Message"].as_str().unwrap();
            assert!(
                NOT_CLAIMED.contains(&reason),
                "skipped, though claimed: {}: {reason}",
                spec["LeafNodeText"]
            );
        }
        *counts.entry(state).or_default() += 1;
    }
    let count = |state: &str| counts.get(state).copied().unwrap_or(0);
    let (passed, skipped) = (count("passed"), count("skipped"));
    let ran = counts.values().sum::<usize>() - skipped - count("pending");
    println!("csi-sanity, {access_type}: {passed}/{ran} passed, {skipped} skipped as not claimed");
    assert!(output.status.success() && passed == ran, "{counts:?}\n{said}\n{}", rig.log());
    assert!(passed > 60, "csi-sanity hardly ran: {counts:?}");
    assert_eq!(rig.ok(&["get", "volumes", "-o", "name"]), "", "something was left behind");
    let problems: Vec<String> = rig
        .log()
        .lines()
        .filter(|l| l.contains(" WARN ") || l.contains("ERROR"))
        .map(str::to_owned)
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(rig.stop(), Some(0));
}
