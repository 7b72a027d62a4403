//! Claims from their first moment to their last.

use std::time::Instant;

use anyhow::{Result, ensure};
use kube_suite::needs_the_machine;

use crate::site::Site;

#[test]
fn data_outlives_the_pod_that_wrote_it_and_goes_with_its_claim() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let started = Instant::now();
    site.claim("kept", "")?;
    site.bound("kept")?;
    println!("claim created -> Bound: {:.2?}, kubectl twice included", started.elapsed());
    let started = Instant::now();
    site.pod("writer", "kept", "echo precious > /data/file; sync")?;
    site.ready("writer")?;
    println!("pod created -> ready, with its volume: {:.2?}", started.elapsed());
    let seen = site.exec("writer", "stat -c %g /data; grep -c . /data/file")?;
    ensure!(seen == "4242\n1", "the group of the pod, and its data: {seen}");
    site.delete(&["pod/writer"])?;
    site.pod("reader", "kept", "")?;
    site.ready("reader")?;
    let read = site.exec("reader", "cat /data/file")?;
    ensure!(read == "precious", "{read:?}");
    let volume = site.volume("kept")?;
    let labels = site.leister(&["get", "volume", &volume, "-o", "json"])?.ok()?;
    ensure!(labels.contains("\"kept\"") && labels.contains("\"default\""), "whose it is: {labels}");
    // A claim in use stays until its pod ends.
    site.kubectl(&["delete", "pvc/kept", "--wait=false"])?.ok()?;
    ensure!(site.exec("reader", "cat /data/file")? == "precious");
    site.delete(&["pod/reader"])?;
    site.gone(&[&volume])
}

#[test]
fn a_volume_of_a_pods_own_comes_and_goes_with_it() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.pod_with_own_volume("scratch", "echo much >/data/file; sync")?;
    site.ready("scratch")?;
    let volume = site.volume("scratch-data")?;
    ensure!(site.pool()?.iter().any(|unit| unit.contains(&volume)), "{volume}");
    site.delete(&["pod/scratch"])?;
    site.gone(&[&volume])
}

#[test]
fn a_mounted_claim_grows_as_a_directory_and_as_a_file_system() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    // (ext4 in use grows only where the kernel trusts us with CAP_SYS_RESOURCE, which builders may lack.)
    for (class, before, after) in [("leister", 64, 192), ("leister-xfs", 320, 640)] {
        let (claim, pod) = (format!("grows-{class}"), format!("user-of-{class}"));
        let resources = format!("resources: {{requests: {{storage: {before}Mi}}}}");
        site.claim(&claim, &format!("storageClassName: {class}\n  {resources}"))?;
        site.bound(&claim)?;
        site.pod(&pod, &claim, "echo precious > /data/file; sync")?;
        site.ready(&pod)?;
        let full = format!(
            "dd if=/dev/zero of=/data/much bs=1M count={} 2>&1; sync; rm -f /data/much; cat /data/file",
            before + 32
        );
        let small = site.exec(&pod, &full)?;
        ensure!(small.contains("No space left") || small.contains("quota exceeded"), "{class}: {small}");
        let larger = format!("{{\"spec\":{{\"resources\":{{\"requests\":{{\"storage\":\"{after}Mi\"}}}}}}}}");
        let started = Instant::now();
        site.kubectl(&["patch", &format!("pvc/{claim}"), "-p", &larger])?.ok()?;
        site.wait(&format!("pvc/{claim}"), &format!("jsonpath={{.status.capacity.storage}}={after}Mi"))?;
        println!("{class}: grown in {:.2?}", started.elapsed());
        let large = site.exec(&pod, &full)?;
        let whole = format!("{0}+0 records out", before + 32);
        ensure!(large.contains(&whole) && large.ends_with("precious"), "{class}: {large}");
        let volume = site.volume(&claim)?;
        site.delete(&[&format!("pod/{pod}"), &format!("pvc/{claim}")])?;
        site.gone(&[&volume])?;
    }
    Ok(())
}

#[test]
fn a_claim_in_use_changes_with_its_attributes_class_and_is_told_what_cannot_change() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let volume = site.stage().a_claim_in_use_changes()?;
    let shown = site.leister(&["get", "volume", &volume, "-o", "json"])?.ok()?;
    ensure!(shown.contains("0711"), "{shown}");
    site.delete(&["pod/user-of-modified", "pvc/modified"])?;
    site.gone(&[&volume])
}

#[test]
fn a_raw_device_keeps_its_data_from_pod_to_pod() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let volume = site.stage().a_raw_device_keeps_its_data()?;
    site.delete(&["pod/raw-reader", "pvc/raw"])?;
    site.gone(&[&volume])
}

#[test]
fn a_claim_for_one_pod_is_refused_to_a_second() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let volume = site.stage().a_claim_for_one_pod_is_refused_to_a_second()?;
    site.delete(&["pod/two", "pvc/alone"])?;
    site.gone(&[&volume])
}

#[test]
fn a_pod_waits_where_the_pool_has_no_room_and_goes_on_when_it_has() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let volume = site.stage().a_pod_waits_for_room()?;
    site.delete(&["pod/patient", "pvc/late"])?;
    site.gone(&[&volume])
}
