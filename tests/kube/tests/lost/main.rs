//! Nodes that are gone without a word. Most of the time it is waited for the cluster to miss them, so it has machines of
//! its own beside those of the suite `nodes`.
#![allow(clippy::print_stdout, reason = "skips and measured times are printed")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube_suite::{CONTROLLERS, Fleet, on_shared_fleet, until};

const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn a_pod_of_a_node_that_lost_power_runs_elsewhere_with_all_it_had_written() -> Result<()> {
    on_shared_fleet(Fleet::boot, |site| {
        site.claim("kept", "storageClassName: leister-ext4")?;
        site.cluster.wait("pvc/kept", "jsonpath={.status.phase}=Bound")?;
        site.pod("before", "node1", "kept", "echo precious >/data/file; sync")?;
        site.ready("before")?;
        let machine = &site.machines[0];
        machine.guest().kill()?;
        let started = Instant::now();
        // What a person, or who watches the power, says of it: nothing runs there any more.
        let taint = ["taint", "node", "node1", "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"];
        site.cluster.kubectl(&taint)?.ok()?;
        site.pod("after", "node2", "kept", "")?;
        site.ready("after")?;
        println!("on the other node {:.1?} after the loss of power", started.elapsed());
        ensure!(site.exec("after", "cat /data/file")? == "precious");
        site.exec("after", "echo more >>/data/file; sync")?;
        machine.come_back(&site.cluster)?;
        site.cluster.kubectl(&["taint", "node", "node1", "node.kubernetes.io/out-of-service-"])?.ok()?;
        // The one that came back has the volume no more, and nothing of it.
        let left =
            "ls -d /sys/class/iscsi_session/* 2>/dev/null; grep /srv/node/leister/mounts /proc/mounts; true";
        let left = machine.guest().exec(left).ok("look");
        ensure!(left.is_empty(), "node1 has something of the volume: {left}");
        ensure!(site.exec("after", "cat /data/file")? == "precious\nmore");
        site.delete(&["pod/after", "pvc/kept"])
    })
}

#[test]
fn a_node_that_is_silent_for_long_is_marked_when_its_volumes_are_fenced_and_runs_again_when_it_is_back()
-> Result<()> {
    on_shared_fleet(Fleet::boot, |site| {
        site.claim("unmarked", "storageClassName: leister-ext4")?;
        site.cluster.wait("pvc/unmarked", "jsonpath={.status.phase}=Bound")?;
        site.pod(
            "silent",
            "node1",
            "unmarked",
            "(n=0; while n=$((n+1)); do echo $n >>/data/file; sync; sleep 1; done) & true",
        )?;
        site.ready("silent")?;
        let machine = &site.machines[0];
        // Cut off, not dead: what runs there goes on writing.
        (0..2).try_for_each(|link| machine.guest().cut(link))?;
        let started = Instant::now();
        site.event("node1", "LostNodeFenced")?;
        println!("fenced and marked {:.1?} after it was cut off", started.elapsed());
        let taints = site.cluster.get("node/node1")?["spec"]["taints"].to_string();
        ensure!(taints.contains("out-of-service") && taints.contains("\"leister\""), "{taints}");
        site.pod("heir", "node2", "unmarked", "")?;
        site.ready("heir")?;
        println!("on the other node {:.1?} after it was cut off", started.elapsed());
        let found = site.exec("heir", "cat /data/file")?;
        ensure!(found.lines().zip(1..).all(|(line, number)| line == number.to_string()), "{found}");
        site.exec("heir", "echo taken over >>/data/file; sync")?;
        (0..2).try_for_each(|link| machine.guest().join(link))?;
        until("the mark to go", LIMIT, || {
            let taints = site.cluster.get("node/node1").ok()?["spec"]["taints"].to_string();
            (!taints.contains("out-of-service")).then_some(())
        })?;
        println!("unmarked {:.1?} after it was cut off", started.elapsed());
        let left = "grep /srv/node/leister/mounts /proc/mounts; true";
        let left = machine.guest().exec(left).ok("look");
        ensure!(left.is_empty(), "node1 has something of the volume: {left}");
        let after = site.exec("heir", "cat /data/file")?;
        ensure!(after == format!("{found}\ntaken over"), "{after}");
        site.cluster.wait("pod/silent", "delete")?;
        site.delete(&["pod/heir", "pvc/unmarked"])
    })
}

#[test]
fn what_a_killed_leader_had_begun_to_take_from_a_node_the_next_one_takes_and_marks_though_the_node_is_back()
-> Result<()> {
    on_shared_fleet(Fleet::boot, |site| {
        let [leader, next] = CONTROLLERS;
        site.claim("half", "storageClassName: leister-ext4")?;
        site.bound("half")?;
        site.pod("robbed", "node1", "half", "echo precious >/data/file; sync")?;
        site.ready("robbed")?;
        let machine = &site.machines[0];
        let node = || site.cluster.get("node/node1").ok();
        let taints = || Some(node()?["spec"]["taints"].to_string());
        // While the storage does not answer, nothing can be taken.
        (0..2).try_for_each(|link| machine.guest().cut(link))?;
        site.filer.kill();
        let begun = || node()?["metadata"]["annotations"]["leister.io/fenced-by"].as_str().map(str::to_owned);
        let by = until("it to begin", LIMIT, begun)?;
        ensure!(by == "csi.leister.io", "{by}");
        site.cluster.kill(leader)?;
        ensure!(taints().is_some_and(|taints| !taints.contains("out-of-service")), "it was too fast");
        (0..2).try_for_each(|link| machine.guest().join(link))?;
        site.cluster.wait("node/node1", "condition=Ready")?;
        let server = format!("unix://{}", site.cluster.path(&format!("{next}.rest.sock")).display());
        until("the doctor to tell", LIMIT, || {
            let said = site.cluster.leister(&["doctor", "--server", &server]).ok()?;
            said.out.contains("its volumes are being taken from it").then_some(())
        })?;
        ensure!(begun().is_some(), "it has not ended");

        let started = Instant::now();
        site.filer.start()?;
        site.event("node1", "LostNodeFenced")?;
        // Its volume was taken while it wrote: the node lets go when the kernel has given the writes up.
        until("the pod to end", 2 * LIMIT, || site.cluster.get("pod/robbed").is_err().then_some(()))?;
        println!("marked, and its pod ended, {:.1?} after the storage was back", started.elapsed());
        until("the mark to go, and what had begun", LIMIT, || {
            (begun().is_none() && !taints()?.contains("out-of-service")).then_some(())
        })?;
        // Where it was, so that nothing is left there of the one before.
        site.pod("again", "node1", "half", "")?;
        site.ready("again")?;
        ensure!(site.exec("again", "cat /data/file")? == "precious");
        site.cluster.start_again(leader)?;
        site.delete(&["pod/again", "pvc/half"])
    })
}
