//! Controllers apart from nodes: judged by the project's own suite, and killed.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use filer_suite::program;
use go_suite::{Judged, Sanity};
use kube_suite::{CONTROLLERS, INSTANCE, RECORDS, claim, until};
use rig::Limit;

use crate::site::{LIMIT, Site, needs_the_machines};

#[test]
fn csi_sanity_passes_with_a_controller_and_a_node_over_nfs_with_files_and_over_iscsi_with_raw_devices()
-> Result<()> {
    needs_the_machines!();
    let sanity = Sanity::get()?;
    let site = Site::shared()?;
    let _turn = site.turn();
    let guest = site.machines[0].guest();
    // The suite needs both sockets on one machine.
    let (folder, trust) = ("/run/judged", "/etc/judged");
    for (file, content) in site.filer.issue(INSTANCE)? {
        guest.put(&format!("{trust}/{file}"), content)?;
    }
    guest.put(&format!("{trust}/backend/filer.yaml"), site.filer.backend("filer", trust))?;
    let controller = format!(
        "setsid -f sh -c 'echo $$ >/run/judged.pid; exec {} controller --node judged --listen none \
         --state-dir {folder} --socket {folder}/rest.sock --csi-endpoint {folder}/csi.sock --config {trust}/backend \
         --instance-id {INSTANCE} {RECORDS}' </dev/null >>/rig/judged.log 2>&1",
        program()?.display()
    );
    guest.exec(&controller).ok("start a controller");
    guest.wait_for(&format!("[ -S {folder}/csi.sock ]"), Limit::from_secs(120)).ok("a controller");
    for access in ["mount", "block"] {
        let started = Instant::now();
        let folder = format!("/run/sanity-{access}");
        let words =
            sanity.words("/var/lib/kubelet/plugins/csi.leister.io/csi.sock", access, &folder).join(" ");
        let script = format!(
            "mkdir -p {folder}; {} {words} --csi.controllerendpoint=unix:///run/judged/csi.sock",
            sanity.program().display()
        );
        let said = guest.exec_within(Limit::from_secs(15 * 60), &script);
        let report = guest.read(&format!("{folder}/report.json"))?;
        let judged = Judged::read(&String::from_utf8_lossy(&report));
        let Judged { passed, ran, skipped } = judged.with_context(|| said.stdout)?;
        println!(
            "csi-sanity, controller and node over the wires, {access}: {passed}/{ran} passed, {skipped} skipped as not \
             claimed, {:.0?}",
            started.elapsed()
        );
    }
    guest.exec("kill $(cat /run/judged.pid)").ok("end the controller");
    Ok(())
}

#[test]
fn what_a_killed_controller_had_begun_the_other_one_ends() -> Result<()> {
    needs_the_machines!();
    const CLAIMS: usize = 200;
    let site = Site::shared()?;
    let _turn = site.turn();
    let [leader, _] = CONTROLLERS;
    // Of an earlier test one may still be on its way out.
    let before = site.volumes();
    let ours = || -> BTreeSet<String> { site.volumes().difference(&before).cloned().collect() };
    let names: Vec<String> = (0..CLAIMS).map(|n| format!("many-{n}")).collect();
    let claims: Vec<String> = names.iter().map(|name| claim(name, "accessModes: [ReadWriteMany]")).collect();
    site.cluster.apply(&claims.join("---\n"))?;
    until("a first volume", LIMIT, || (!ours().is_empty()).then_some(()))?;
    site.cluster.kill(leader)?;
    let killed = Instant::now();
    let made = ours().len();
    ensure!(made < CLAIMS, "all was done before the kill");
    until("the other one to make volumes", LIMIT, || (ours().len() > made).then_some(()))?;
    println!(
        "{leader} killed with {made} of {CLAIMS} volumes made; the next one after {:.1?}",
        killed.elapsed()
    );
    site.cluster.start_again(leader)?;
    let claims: Vec<String> = names.iter().map(|name| format!("pvc/{name}")).collect();
    let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
    let bound = ["wait", "--for=jsonpath={.status.phase}=Bound", "--timeout=150s"];
    site.cluster.kubectl(&[&bound, &claims[..]].concat())?.ok()?;
    println!("all bound {:.1?} after the kill", killed.elapsed());
    let volumes = ["get", "-o", "jsonpath={range .items[*]}{.spec.volumeName}{\"\\n\"}{end}"];
    let volumes = site.cluster.kubectl(&[&volumes, &claims[..]].concat())?.ok()?;
    let mut doubled = ours();
    for volume in volumes.lines() {
        let made = doubled.extract_if(.., |name| name.contains(volume)).count();
        ensure!(made == 1, "{made} volumes in the pool for {volume}");
    }
    ensure!(doubled.is_empty(), "nobody's volumes: {doubled:?}");
    site.delete(&claims)?;
    until("all volumes gone", LIMIT, || ours().is_empty().then_some(()))
}
