//! The provisioner ends in the middle of it all, and things happen while it is away.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use kube_suite::{needs_the_machine, until};

use crate::site::{LIMIT, PROVISIONER, Site, claim};

const CLAIMS: usize = 20;

#[test]
fn nothing_is_lost_doubled_or_leaked_when_it_is_killed_amid_creates_and_deletes() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _alone = site.alone();
    site.plain()?;
    let names: Vec<String> = (0..CLAIMS).map(|n| format!("amid-{n}")).collect();
    let mut text = String::new();
    for name in &names {
        writeln!(text, "{}---", claim(name, "", ""))?;
    }
    let on_array = || site.on_array("_amid_").map(|volumes| volumes.len());
    site.apply(&text)?;
    let mut kills = 0;
    for share in [2, CLAIMS / 2] {
        until("some volumes to be made", LIMIT, || (on_array().ok()? >= share).then_some(()))?;
        site.kill(PROVISIONER)?;
        kills += 1;
        site.start_again(PROVISIONER)?;
    }
    for name in &names {
        site.bound(name)?;
    }
    let volumes: BTreeSet<String> = names.iter().map(|name| site.volume(name)).collect::<Result<_>>()?;
    ensure!(volumes.len() == CLAIMS, "{volumes:?}");
    let known = site.ask(&["get", "volumes", "-o", "name"])?;
    ensure!(known.matches("default-amid-").count() == CLAIMS, "as many records as claims: {known}");
    ensure!(on_array()? == CLAIMS, "as many on the array: {:?}", site.on_array("_amid_")?);

    let mut words = vec!["delete", "--wait=false", "pvc"];
    words.extend(names.iter().map(String::as_str));
    site.kubectl(&words)?.ok()?;
    until("some claims to be gone", LIMIT, || (on_array().ok()? < CLAIMS - 2).then_some(()))?;
    site.kill(PROVISIONER)?;
    kills += 1;
    site.start_again(PROVISIONER)?;
    for volume in &volumes {
        site.gone(volume)?;
    }
    println!("{CLAIMS} claims made and deleted over {kills} kills of the provisioner");
    Ok(())
}

#[test]
fn what_happens_while_it_is_away_is_made_good_when_it_is_back() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _alone = site.alone();
    site.plain()?;
    site.class("passing", "parameters: {backendType: ontap-nas}")?;
    for (name, class) in [("pv-first", "plain"), ("claim-only", "plain"), ("classless", "passing")] {
        site.claim(name, "", &format!("storageClassName: {class}"))?;
        site.bound(name)?;
    }
    let [first, only, classless] = ["pv-first", "claim-only", "classless"].map(|claim| site.volume(claim));
    let (first, only, classless) = (first?, only?, classless?);
    // A claim whose volume is being made, and which nobody wants any more.
    let before = site.on_array("_hasty_")?.len();
    site.claim("hasty", "", "")?;
    let hasty = site.name_for("hasty")?;
    until("its record", LIMIT, || {
        let known = site.ask(&["get", "volumes", "-o", "name"]).ok()?;
        known.contains(&hasty).then_some(())
    })?;
    site.kill(PROVISIONER)?;
    site.kubectl(&["delete", &format!("pv/{first}"), "--wait=false"])?.ok()?;
    site.delete(&["pvc/pv-first", "pvc/claim-only", "pvc/hasty", "storageclass/passing"])?;
    site.start_again(PROVISIONER)?;
    for volume in [&first, &only, &hasty] {
        site.gone(volume)?;
    }
    ensure!(site.on_array("_hasty_")?.len() == before);
    // A volume of a class that is gone lives on, and ends as its PV says.
    ensure!(site.phase("pvc/classless")? == "Bound");
    site.delete(&["pvc/classless"])?;
    site.gone(&classless)
}
