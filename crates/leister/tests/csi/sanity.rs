//! `csi-sanity`, the test suite of the CSI project, against `leister run`.

use std::process::Command;

use go_suite::{Judged, Sanity};

use crate::pools::may_make_pools;
use crate::rig::Rig;

#[test]
fn csi_sanity_passes_with_files() {
    judge("mount");
}

#[test]
fn csi_sanity_passes_with_raw_devices() {
    judge("block");
}

fn judge(access: &str) {
    if !may_make_pools() {
        return;
    }
    let sanity = match Sanity::get() {
        Ok(sanity) => sanity,
        Err(why) => return println!("skipped: csi-sanity cannot be built: {why:#}"),
    };
    let mut rig = Rig::bare();
    let socket = rig.path("csi.sock").display().to_string();
    let endpoint = format!("unix://{socket}");
    rig.serve(&["--csi-endpoint", &endpoint, "--topology", "zone=here", "--csi-max-volumes", "4"]);
    // What lies on a device is not the storage's to change.
    let changes = if access == "mount" { "unixPermissions: \"0750\"\n" } else { "{}\n" };
    let changes = rig.write("changes.yaml", changes);
    let output = Command::new(sanity.program())
        .args(sanity.words(&socket, access, &rig.path("").display().to_string()))
        .args(["--csi.testvolumemutableparameters", &changes, "--csi.testnodevolumeattachlimit"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report = std::fs::read_to_string(rig.path("report.json")).unwrap();
    let judged = Judged::read(&report).unwrap_or_else(|e| panic!("{e:#}\n{said}\n{}", rig.log()));
    let Judged { passed, ran, skipped } = judged;
    println!("csi-sanity, {access}: {passed}/{ran} passed, {skipped} skipped as not claimed");
    assert!(output.status.success(), "{said}");
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
