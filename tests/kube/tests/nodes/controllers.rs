//! Controllers apart from nodes, and killed.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, ensure};
use kube_suite::{CONTROLLERS, claim, until};

use crate::site::{LIMIT, on_site};

#[test]
fn what_a_killed_controller_had_begun_the_other_one_ends() -> Result<()> {
    on_site(|site| {
        const CLAIMS: usize = 200;
        let [leader, _] = CONTROLLERS;
        // Of an earlier test one may still be on its way out.
        let before = site.volumes();
        let ours = || -> BTreeSet<String> { site.volumes().difference(&before).cloned().collect() };
        let names: Vec<String> = (0..CLAIMS).map(|n| format!("many-{n}")).collect();
        let claims: Vec<String> =
            names.iter().map(|name| claim(name, "accessModes: [ReadWriteMany]")).collect();
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
        // To wait for each would cost as much again.
        site.cluster.kubectl(&[&["delete", "--wait=false"], &claims[..]].concat())?.ok()?;
        until("all volumes gone", LIMIT, || ours().is_empty().then_some(()))
    })
}
