//! A node's part in a pod, as the chart has it: what it mounts over the wires is the node's.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filer_suite::program;
use kube_suite::{Helm, INSTANCE, PLACE, Product, until};
use rig::Limit;

use crate::site::{LIMIT, Site, on_site};

const NAMESPACE: &str = "leister";
/// Each container of a guest starts as slowly as the guest's kernel does all else.
const PATIENCE: Duration = Duration::from_secs(400);
/// What of the node the pod sees.
const STATE: &str = "/srv/node/pods";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/helm/leister");

#[test]
fn a_nodes_part_in_a_pod_mounts_nfs_and_iscsi_and_may_be_replaced_while_they_are_used() -> Result<()> {
    on_site(|site| {
        let machine = &site.machines[1];
        let manifest = site.cluster.path("pods.yaml");
        fs::write(&manifest, rendered(site, machine.name())?)?;
        let manifest = manifest.display().to_string();
        let archive = machine.guest().share().join("product.tar");
        Product::new(&program()?).write(&archive)?;
        let import = "ctr --namespace k8s.io images import /rig/product.tar && rm /rig/product.tar";
        machine.guest().exec_within(Limit::from_secs(300), import).ok("import the image");
        let known = format!("mkdir -p {STATE} && cp /etc/kube/records.kubeconfig {STATE}/");
        machine.guest().exec(&known).ok("what it knows of the apiserver");

        machine.leister().stop();
        let used = in_a_pod(site, &manifest);
        let gone = site
            .cluster
            .kubectl(&["delete", "-f", &manifest, "--timeout=120s"])
            .and_then(kube_suite::Said::ok);
        // Others need the machine as it was.
        machine.leister().start()?;
        has_plugin(site, machine.name())?;
        used.and(gone).map(drop)
    })
}

fn in_a_pod(site: &Site, manifest: &str) -> Result<String> {
    let node = site.machines[1].name();
    let started = Instant::now();
    site.cluster.kubectl(&["apply", "-f", manifest])?.ok()?;
    rolled_out(site)?;
    has_plugin(site, node).with_context(|| story(site))?;
    println!("a pod is the node's part after {:.1?}", started.elapsed());
    site.claim("files", "accessModes: [ReadWriteMany]")?;
    site.claim("unit", "storageClassName: leister-ext4")?;
    for (pod, claim) in [("on-nfs", "files"), ("on-iscsi", "unit")] {
        site.cluster.wait(&format!("pvc/{claim}"), "jsonpath={.status.phase}=Bound")?;
        site.pod(pod, node, claim, "echo precious >/data/file; sync")?;
        let started = Instant::now();
        let ready = ["wait", &format!("pod/{pod}"), "--for=condition=Ready", "--timeout=60s"];
        until(&format!("{pod} to be ready"), PATIENCE, || site.cluster.kubectl(&ready).ok()?.ok().ok())
            .with_context(|| story(site))?;
        println!("{pod} ready in {:.1?}", started.elapsed());
    }
    let mounted = site.exec("on-nfs", "grep ' /data ' /proc/mounts")?;
    ensure!(mounted.contains("nfs"), "{mounted}");
    let mounted = site.exec("on-iscsi", "grep ' /data ' /proc/mounts")?;
    ensure!(mounted.contains("ext4") && mounted.contains("/dev/"), "{mounted}");

    let pods = ["-n", NAMESPACE, "get", "pods", "-o", "name"];
    let before = site.cluster.kubectl(&pods)?.ok()?;
    site.cluster.kubectl(&["-n", NAMESPACE, "rollout", "restart", "daemonset/leister-node"])?.ok()?;
    rolled_out(site)?;
    until("another pod", LIMIT, || site.cluster.kubectl(&pods).ok()?.ok().ok().filter(|now| *now != before))?;
    has_plugin(site, node)?;
    for pod in ["on-nfs", "on-iscsi"] {
        let read = site.exec(pod, "echo more >>/data/file; sync; cat /data/file")?;
        ensure!(read == "precious\nmore", "{pod}: {read}");
    }
    // What the one before mounted the other one takes away.
    site.delete(&["pod/on-nfs", "pod/on-iscsi", "pvc/files", "pvc/unit"]).with_context(|| story(site))?;
    let look = "ls -d /sys/class/iscsi_session/* 2>/dev/null; \
                grep ' /srv/node/pods/leister/mounts/.' /proc/mounts; true";
    let mut left = String::new();
    let gone = until("the node to have nothing of them", PATIENCE, || {
        let said = site.machines[1].guest().exec(look);
        left = said.stdout.clone();
        (said.is_ok() && left.trim().is_empty()).then_some(())
    });
    gone.with_context(|| format!("left: {left}\n{}", story(site)))?;
    Ok(String::new())
}

/// The chart's node part for one machine of this fleet, where the apiserver has another address than pods know.
fn rendered(site: &Site, node: &str) -> Result<String> {
    let values = format!(
        "kubeletDir: /var/lib/kubelet
stateDir: {STATE}
image: {{pullPolicy: Never}}
node:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  topology: [{PLACE}]
  extraArgs: [--kubeconfig={STATE}/records.kubeconfig, --namespace=leister, --instance-id={INSTANCE}]
"
    );
    let file = site.cluster.path("pods.values.yaml");
    fs::write(&file, values)?;
    let values = format!("--values={}", file.display());
    let only = ["--show-only=templates/accounts.yaml", "--show-only=templates/node.yaml"];
    Helm::get()?.template(&[&["leister", CHART, "--namespace", NAMESPACE, &values], &only[..]].concat())
}

fn rolled_out(site: &Site) -> Result<()> {
    let words = ["-n", NAMESPACE, "rollout", "status", "daemonset/leister-node", "--timeout=60s"];
    until("the rollout", PATIENCE, || site.cluster.kubectl(&words).ok()?.ok().ok())
        .with_context(|| story(site))
        .map(drop)
}

fn has_plugin(site: &Site, node: &str) -> Result<()> {
    let is_there = "jsonpath={.spec.drivers[0].name}=csi.leister.io";
    site.cluster.wait(&format!("csinode/{node}"), is_there).map(drop)
}

fn story(site: &Site) -> String {
    let said =
        |words: &[&str]| site.cluster.kubectl(words).and_then(kube_suite::Said::ok).unwrap_or_default();
    let logs = said(&["-n", NAMESPACE, "logs", "daemonset/leister-node", "--tail=60"]);
    format!("{}\n{logs}", said(&["-n", NAMESPACE, "describe", "pods"]))
}
