//! CSI without Kubernetes over an array, with data: judged by the project's own suite.

use std::time::Instant;

use anyhow::{Context as _, Result};
use filer_suite::program;
use go_suite::{Judged, Sanity};
use rig::Limit;

use crate::site::{Site, needs_the_machines};

/// Drivers of the array, what volumes are asked of each, and of which size: the array makes none of the suite's own.
/// `ontap-nas-economy` is not among them: it has no snapshots, and CSI has one word for all backends of a plugin.
const DRIVERS: [(&str, &str, u64); 4] = [
    ("ontap-nas", "mount", 32 << 20),
    ("ontap-nas-flexgroup", "mount", 1 << 30),
    ("ontap-san", "block", 32 << 20),
    ("ontap-san-economy", "block", 32 << 20),
];
/// Without the vendor's snapshots and queue, so that nothing is left when all is deleted.
const DEFAULTS: &str = "defaults: {snapshotPolicy: none, skipRecoveryQueue: \"true\"}\n";

#[test]
fn csi_sanity_passes_over_an_array_with_files_and_with_raw_devices() -> Result<()> {
    needs_the_machines!();
    let sanity = Sanity::get()?;
    let site = Site::shared()?;
    let _turn = site.turn();
    let array = site.array()?;
    let guest = site.machines[1].guest();
    let folder = "/run/arrays";
    for (number, (driver, ..)) in DRIVERS.iter().enumerate() {
        let more = format!("storagePrefix: sanity{number}_\n{DEFAULTS}");
        guest.put(&format!("/etc/arrays/{driver}.yaml"), array.backend(driver, driver, &more))?;
        guest.put(&format!("/etc/parameters/{driver}.yaml"), format!("backendType: {driver}\n"))?;
    }
    let start = format!(
        "setsid -f sh -c 'echo $$ >/run/arrays.pid; exec {} csi --node arrays --listen none --state-dir {folder} \
         --socket {folder}/rest.sock --csi-endpoint {folder}/csi.sock --config /etc/arrays' </dev/null >>/rig/arrays.log 2>&1",
        program()?.display()
    );
    guest.exec(&start).ok("start leister");
    guest.wait_for(&format!("[ -S {folder}/csi.sock ]"), Limit::from_secs(120)).ok("it serves");
    for (driver, access, size) in DRIVERS {
        let started = Instant::now();
        let own = format!("/run/sanity-{driver}");
        let words = sanity.words(&format!("{folder}/csi.sock"), access, &own).join(" ");
        let script = format!(
            "mkdir -p {own}; {} {words} --csi.testvolumeparameters=/etc/parameters/{driver}.yaml \
             --csi.testvolumesize={size} --csi.testvolumeexpandsize={}",
            sanity.program().display(),
            2 * size
        );
        let said = guest.exec_within(Limit::from_secs(15 * 60), &script);
        let report = guest.read(&format!("{own}/report.json"))?;
        let judged = Judged::read(&String::from_utf8_lossy(&report));
        let Judged { passed, ran, skipped } = judged.with_context(|| said.stdout)?;
        println!(
            "csi-sanity, {driver}, {access}: {passed}/{ran} passed, {skipped} skipped as not claimed, {:.0?}",
            started.elapsed()
        );
    }
    guest.exec("kill $(cat /run/arrays.pid)").ok("end leister");
    let left = array.ask("GET", "/storage/volumes?name=sanity*", None)?;
    let left = left["records"].as_array().into_iter().flatten().map(|own| own["name"].to_string());
    // FlexVols that LUNs share outlive them.
    let left: Vec<String> = left.filter(|name| !name.contains("_pool_")).collect();
    let luns = array.ask("GET", "/storage/luns?name=/vol/sanity*", None)?;
    anyhow::ensure!(left.is_empty() && luns["num_records"] == 0, "left on the array: {left:?}, {luns}");
    Ok(())
}
