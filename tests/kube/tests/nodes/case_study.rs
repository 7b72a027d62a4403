//! The case study as it was seen: two replicas on two nodes, each mounting by its kubelet what the provisioner made.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{CLASS_AND_CLAIM, replicas, until};
use serde_json::Value;

use crate::site::{LIMIT, Site, on_site};

const PROVISIONER: &str = "provisioner";
const ACCOUNT: (&str, &str) = ("leister-provisioner", "leister-provisioner");
/// A pod, and the node that it is on.
fn pods(site: &Site) -> Result<Vec<(String, String)>> {
    let words = ["get", "pods", "--selector=name=nfs-busybox", "-o", "json"];
    let listed: Value = serde_json::from_str(&site.cluster.kubectl(&words)?.ok()?)?;
    let pod = |pod: &Value| {
        let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
        let node = pod["spec"]["nodeName"].as_str().context("it is nowhere yet")?;
        Ok((name.to_owned(), node.to_owned()))
    };
    listed["items"].as_array().into_iter().flatten().map(pod).collect()
}

#[test]
fn the_case_studys_replicas_mount_one_volume_on_two_nodes() -> Result<()> {
    on_site(|site| {
        let array = site.array()?;
        site.cluster.apply(include_str!("../../../../deploy/kubernetes/provisioner.yaml"))?;
        let path = |name: &str| site.cluster.path(name).display().to_string();
        let more = "storagePrefix: trident_\ndefaults: {skipRecoveryQueue: \"true\"}\n";
        fs::write(path("array.yaml"), array.backend("ontap-nas", "array", more))?;
        let kubeconfig = site.cluster.config_of(PROVISIONER, ACCOUNT)?;
        let words = [
            PROVISIONER,
            "--namespace=leister-provisioner",
            "--listen=none",
            "--node=here",
            "--snapshot-reserve=5",
            &format!("--kubeconfig={}", kubeconfig.display()),
            &format!("--config={}", path("array.yaml")),
            &format!("--state-dir={}", path(PROVISIONER)),
            &format!("--socket={}", path("provisioner.sock")),
        ];
        site.cluster.serve_leister_as(PROVISIONER, &words)?;

        site.cluster.apply(CLASS_AND_CLAIM)?;
        let started = Instant::now();
        site.cluster
            .wait("pvc/nfs-test", "jsonpath={.status.phase}=Bound")
            .with_context(|| site.cluster.log(PROVISIONER).unwrap_or_default())?;
        println!("the claim is Bound after {:.1?}", started.elapsed());
        println!("{}", site.cluster.kubectl(&["get", "pvc,pv"])?.ok()?);
        let claim = site.cluster.get("pvc/nfs-test")?;
        let volume = claim["spec"]["volumeName"].as_str().context("it is bound")?.to_owned();
        let export = format!("{}:/trident_{}", array.data_address(0), volume.replace('-', "_"));

        site.cluster.apply(&replicas())?;
        let started = Instant::now();
        let pods = until("two replicas", LIMIT, || pods(site).ok().filter(|pods| pods.len() == 2))?;
        ensure!(pods[0].1 != pods[1].1, "both are on one node: {pods:?}");
        for (pod, node) in &pods {
            site.ready(pod)?;
            let shown = site.exec(pod, "df -h /mnt | tail -n +2")?;
            println!("{node}: {shown}");
            ensure!(shown.contains(&export) && shown.contains("285.0G"), "{shown}");
            let mounted = site.exec(pod, "grep ' /mnt ' /proc/mounts")?;
            for option in ["nfs rw", "vers=3", "proto=tcp", "soft", "timeo=180"] {
                ensure!(mounted.contains(option), "no `{option}`: {mounted}");
            }
            site.exec(pod, &format!("echo {pod} >>/mnt/replicas"))?;
        }
        println!("both replicas run after {:.1?}", started.elapsed());
        let wrote: Vec<&str> = pods.iter().map(|(pod, _)| pod.as_str()).collect();
        let both =
            || site.exec(wrote[0], "cat /mnt/replicas").ok().filter(|read| read.lines().eq(wrote.clone()));
        until("what both wrote", LIMIT, both)?;

        site.delete(&["rc/nfs-busybox", "pvc/nfs-test"])?;
        site.cluster.wait(&format!("pv/{volume}"), "delete")?;
        let left = || array.ask("GET", "/storage/volumes?name=trident_*", None).ok();
        until("nothing left on the array", LIMIT, || left().filter(|left| left["num_records"] == 0))?;
        site.cluster.stop(PROVISIONER)
    })
}
