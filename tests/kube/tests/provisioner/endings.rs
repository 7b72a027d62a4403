//! Ways in which volumes end, or do not.

use anyhow::{Result, ensure};
use kube_suite::{needs_the_machine, until};

use crate::site::{LIMIT, PROVISIONER, Site};

const FREE: &str = r#"{"metadata":{"finalizers":null}}"#;

#[test]
fn a_volume_to_be_retained_outlives_its_claim_and_its_pv() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let quiet = site.quiet();
    site.plain()?;
    // The claim's own word holds over its class.
    site.claim("kept", "trident.netapp.io/reclaimPolicy: Retain", "")?;
    site.bound("kept")?;
    let volume = site.volume("kept")?;
    let pv = format!("pv/{volume}");
    ensure!(site.get(&pv)?["spec"]["persistentVolumeReclaimPolicy"] == "Retain");
    site.delete(&["pvc/kept"])?;
    site.wait(&pv, "jsonpath={.status.phase}=Released")?;
    site.delete(&[&pv])?;
    let handle = volume.replace('-', "_");
    ensure!(
        site.on_array(&handle)?.len() == 1 && site.ask(&["get", "volumes", "-o", "name"])?.contains(&volume)
    );
    // It stays so when the provisioner starts again, and an operator can delete it.
    drop(quiet);
    let alone = site.alone();
    site.kill(PROVISIONER)?;
    site.start_again(PROVISIONER)?;
    site.claim("later", "", "")?;
    site.bound("later")?;
    drop(alone);
    ensure!(site.on_array(&handle)?.len() == 1);
    site.ask(&["delete", "volume", &volume, "--yes"])?;
    site.gone(&volume)?;
    let later = site.volume("later")?;
    site.delete(&["pvc/later"])?;
    site.gone(&later)
}

#[test]
fn a_volume_that_cannot_be_deleted_leaves_its_pv_failed_until_it_can() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.plain()?;
    site.claim("pictured", "", "")?;
    site.bound("pictured")?;
    let volume = site.volume("pictured")?;
    site.ask(&["snapshot", &volume, "precious"])?;
    site.delete(&["pvc/pictured"])?;
    site.wait(&format!("pv/{volume}"), "jsonpath={.status.phase}=Failed")?;
    println!("{}", site.event(&volume, &["Warning FailedVolumeDelete", "1 snapshot"])?);
    ensure!(!site.on_array(&volume.replace('-', "_"))?.is_empty());
    site.ask(&["delete", "snapshot", &format!("{volume}/precious"), "--yes"])?;
    site.gone(&volume)
}

#[test]
fn a_claim_whose_pv_is_torn_away_is_lost_and_its_volume_goes_unless_it_is_retained() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    site.plain()?;
    site.claim("lost", "", "")?;
    site.claim("lost-kept", "trident.netapp.io/reclaimPolicy: Retain", "")?;
    let mut volumes = Vec::new();
    for claim in ["lost", "lost-kept"] {
        site.bound(claim)?;
        let volume = site.volume(claim)?;
        let pv = format!("pv/{volume}");
        until("the volume to be marked", LIMIT, || {
            site.ask(&["get", "volume", &volume, "-o", "json"])
                .ok()
                .filter(|text| text.contains("kubernetes"))
                .map(drop)
        })?;
        site.kubectl(&["delete", &pv, "--wait=false"])?.ok()?;
        // In use it stays, whatever is asked for.
        ensure!(site.phase(&pv)? == "Bound");
        site.kubectl(&["patch", &pv, "--type=merge", "-p", FREE])?.ok()?;
        site.wait(&format!("pvc/{claim}"), "jsonpath={.status.phase}=Lost")?;
        volumes.push(volume);
    }
    site.gone(&volumes[0])?;
    ensure!(site.on_array(&volumes[1].replace('-', "_"))?.len() == 1, "what is to be retained is retained");
    site.delete(&["pvc/lost", "pvc/lost-kept"])?;
    Ok(())
}
