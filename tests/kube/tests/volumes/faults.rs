//! Programs that end in the middle of it all.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{claim, needs_the_machine, until};

use crate::site::{LIMIT, Site};

const CLAIMS: usize = 20;

#[test]
fn nothing_is_lost_or_doubled_when_leister_is_killed_amid_creates_and_deletes() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _alone = site.alone();
    let names: Vec<String> = (0..CLAIMS).map(|n| format!("amid-{n}")).collect();
    let mut text = String::new();
    for name in &names {
        writeln!(text, "{}---", claim(name, ""))?;
    }
    let on_pool = || site.pool().map(|pool| pool.iter().filter(|unit| unit.contains("pvc-")).count());
    site.apply(&text)?;
    let mut kills = 0;
    for share in [2, CLAIMS / 2] {
        until("some claims to be made", LIMIT, || (on_pool().ok()? >= share).then_some(()))?;
        site.kill("leister")?;
        kills += 1;
        site.start_again("leister")?;
    }
    for name in &names {
        site.bound(name)?;
    }
    let volumes: BTreeSet<String> = names.iter().map(|name| site.volume(name)).collect::<Result<_>>()?;
    ensure!(volumes.len() == CLAIMS, "{volumes:?}");
    let known = site.leister(&["get", "volumes", "-o", "name"])?.ok()?;
    ensure!(known.lines().count() == CLAIMS, "as many records as claims: {known}");
    ensure!(on_pool()? == CLAIMS, "as many on the pool: {:?}", site.pool()?);

    let mut words = vec!["delete", "--wait=false", "pvc"];
    words.extend(names.iter().map(String::as_str));
    site.kubectl(&words)?.ok()?;
    until("some claims to be gone", LIMIT, || (on_pool().ok()? < CLAIMS - 2).then_some(()))?;
    site.kill("leister")?;
    kills += 1;
    site.start_again("leister")?;
    site.gone(&volumes.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(on_pool()? == 0, "{:?}", site.pool()?);
    println!("{CLAIMS} claims made and deleted over {kills} kills of leister");
    Ok(())
}

#[test]
fn a_pod_writes_on_and_claims_are_served_while_each_part_of_a_node_and_of_the_cluster_ends_and_comes_back()
-> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _alone = site.alone();
    site.claim("steady", "")?;
    site.bound("steady")?;
    // Says each number on the volume; a write that fails ends the pod.
    site.pod(
        "steady",
        "steady",
        "(n=0; while echo $n > /data/n && sync; do n=$((n+1)); sleep 0.1; done; echo failed > /tmp/failed) &",
    )?;
    site.ready("steady")?;
    let number = || site.exec("steady", "cat /data/n").ok()?.trim().parse::<u64>().ok();
    let goes_on = || {
        let after = until("the pod to be reached", LIMIT, number)?;
        until("the pod to write on", LIMIT, || number().filter(|now| *now > after))
    };
    let started = site.get("pod/steady")?["status"]["containerStatuses"][0]["containerID"].clone();

    site.kill("kubelet")?;
    site.kill("leister")?;
    site.start_again("leister")?;
    site.start_again("kubelet")?;
    site.wait("pod/steady", "condition=Ready")?;
    goes_on()?;

    // One after the other, while claims are made.
    for part in ["containerd", "kube-apiserver", "kube-controller-manager", "csi-provisioner", "etcd"] {
        let names: Vec<String> = (0..CLAIMS / 4).map(|n| format!("amid-{part}-{n}")).collect();
        let claims: Vec<String> = names.iter().map(|name| claim(name, "")).collect();
        site.apply(&claims.join("---\n"))?;
        site.kill(part)?;
        site.start_again(part)?;
        let volumes: Vec<String> = names
            .iter()
            .map(|name| {
                until(&format!("{name} to be bound, {part} was killed"), LIMIT, || site.bound(name).ok())?;
                site.volume(name)
            })
            .collect::<Result<_>>()?;
        goes_on().with_context(|| format!("{part} was killed"))?;
        let claims: Vec<String> = names.iter().map(|name| format!("pvc/{name}")).collect();
        site.delete(&claims.iter().map(String::as_str).collect::<Vec<_>>())?;
        site.gone(&volumes.iter().map(String::as_str).collect::<Vec<_>>())?;
    }

    // The kubelet forgets a plugin whose entry is gone, and learns of it again.
    let entry = site.path("kubelet/plugins_registry/leister@csi.leister.io.sock");
    let registered = || site.log("leister").map(|log| log.matches("the kubelet has registered").count());
    let before = registered()?;
    std::fs::remove_file(&entry)?;
    until("the plugin to be registered again", LIMIT, || (registered().ok()? > before).then_some(()))?;
    site.wait_for_plugin()?;

    // An orderly end takes the plugin from the node, and a start brings it back.
    site.stop("leister")?;
    until("the node to be without the plugin", LIMIT, || site.plugins().ok()?.is_empty().then_some(()))?;
    site.start_again("leister")?;
    site.wait_for_plugin()?;

    goes_on()?;
    ensure!(site.exec("steady", "test ! -e /tmp/failed && echo well")? == "well");
    let now = site.get("pod/steady")?["status"]["containerStatuses"][0]["containerID"].clone();
    ensure!(now == started, "it is the same container");
    let volume = site.volume("steady")?;
    site.delete(&["pod/steady", "pvc/steady"])?;
    site.gone(&[&volume])
}
