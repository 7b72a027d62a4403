//! CSI without Kubernetes over an array, with data: judged by the project's own suite.

use std::time::Instant;

use anyhow::{Context as _, Result};
use filer_suite::program;
use go_suite::{Judged, Sanity};
use rig::Limit;

use crate::site::{Site, needs_the_machines};

/// Drivers of the array, and what volumes are asked of each. The others differ below the calls that are judged here, where
/// the conformance suite judges them.
const DRIVERS: [(&str, &str); 2] = [("ontap-nas", "mount"), ("ontap-san", "block")];
/// The array makes none of the suite's own size.
const SIZE: u64 = 32 << 20;
const LARGER: u64 = 64 << 20;
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
    for (driver, _) in DRIVERS {
        let more = format!("storagePrefix: {}_\n{DEFAULTS}", driver.replace('-', "_"));
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
    for (driver, access) in DRIVERS {
        let started = Instant::now();
        let own = format!("/run/sanity-{driver}");
        let words = sanity.words(&format!("{folder}/csi.sock"), access, &own).join(" ");
        let script = format!(
            "mkdir -p {own}; {} {words} --csi.testvolumeparameters=/etc/parameters/{driver}.yaml \
             --csi.testvolumesize={SIZE} --csi.testvolumeexpandsize={LARGER}",
            sanity.program().display()
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
    let left = array.ask("GET", "/storage/volumes?name=ontap_*", None)?;
    anyhow::ensure!(left["num_records"] == 0, "left on the array: {left}");
    Ok(())
}
