//! Volumes on a cluster of two machines, each a kernel of its own: over NFS and iSCSI from a third one that is the
//! storage. Two controllers of Leister and one on each node have their records in the cluster. A fourth is an array,
//! for the provisioner and kubelets that mount by themselves.
#![allow(clippy::print_stdout, reason = "skips and measured times are printed")]

mod case_study;
mod controllers;
mod copies;
mod groups;
mod pods;
mod sanity;
mod secrets;
mod site;
mod uses;

use std::time::Instant;

use anyhow::{Result, ensure};
use kube_suite::{CONTROLLERS, metrics, until};
use site::{LIMIT, on_site};

#[test]
fn replicas_on_two_nodes_write_to_one_volume_of_files() -> Result<()> {
    on_site(|site| {
        site.claim("shared", "accessModes: [ReadWriteMany]")?;
        site.cluster.wait("pvc/shared", "jsonpath={.status.phase}=Bound")?;
        let started = Instant::now();
        for node in ["node1", "node2"] {
            site.pod(
                &format!("replica-{node}"),
                node,
                "shared",
                &format!("echo {node} >/data/{node}; sync"),
            )?;
        }
        for (node, other) in [("node1", "node2"), ("node2", "node1")] {
            let pod = format!("replica-{node}");
            site.ready(&pod)?;
            println!("{pod} ready after {:.1?}", started.elapsed());
            let options = site.exec(&pod, "grep ' /data ' /proc/mounts")?;
            ensure!(options.contains("nfs"), "{options}");
            until("what the other one wrote", LIMIT, || {
                site.exec(&pod, &format!("cat /data/{other}")).ok().filter(|read| read == other)
            })?;
        }
        let [leader, _] = CONTROLLERS;
        let told = r#"namespace="default",pvc="shared",pv="pvc-"#;
        let line = until("metrics to tell whose it is", LIMIT, || {
            let metrics = metrics(&site.cluster.path(&format!("{leader}.rest.sock"))).ok()?;
            metrics.lines().find(|line| line.contains(told)).map(str::to_owned)
        })?;
        ensure!(line.ends_with(r#"storage_class="leister"} 1"#), "{line}");
        site.delete(&["pod/replica-node1", "pod/replica-node2", "pvc/shared"])
    })
}

#[test]
fn a_volume_of_blocks_goes_with_its_pod_from_node_to_node_and_grows_there() -> Result<()> {
    on_site(|site| {
        site.claim("blocks", "storageClassName: leister-ext4")?;
        site.cluster.wait("pvc/blocks", "jsonpath={.status.phase}=Bound")?;
        site.pod("first", "node1", "blocks", "echo precious >/data/file; sync")?;
        site.ready("first")?;
        // A second node has to wait for the first one.
        site.pod("second", "node2", "blocks", "")?;
        site.event("second", "Multi-Attach")?;
        site.delete(&["pod/first"])?;
        let started = Instant::now();
        site.ready("second")?;
        println!("on the second node {:.1?} after the first let go", started.elapsed());
        ensure!(site.exec("second", "cat /data/file")? == "precious");
        let larger = r#"{"spec":{"resources":{"requests":{"storage":"192Mi"}}}}"#;
        site.cluster.kubectl(&["patch", "pvc/blocks", "-p", larger])?.ok()?;
        site.cluster.wait("pvc/blocks", "jsonpath={.status.capacity.storage}=192Mi")?;
        let wrote =
            site.exec("second", "dd if=/dev/zero of=/data/much bs=1M count=150 2>&1; sync; cat /data/file")?;
        ensure!(wrote.contains("150+0 records out") && wrote.ends_with("precious"), "{wrote}");
        site.delete(&["pod/second", "pvc/blocks"])
    })
}
