//! What users see on any storage and any nodes: each scene leaves its claim, whose volume it tells, and one pod.
#![allow(clippy::print_stdout, reason = "what was said and measured times are printed")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::pod::{DEVICE, FILES, pod};
use docker_suite::until;

const LIMIT: Duration = Duration::from_secs(180);
/// Says each number on the volume; a write that fails is told.
const COUNTS: &str = "echo precious > /data/file; \
    (n=0; while echo $n > /data/n && sync; do n=$((n+1)); sleep 0.2; done; touch /tmp/failed) &";

/// Where scenes play.
pub struct Stage<'a> {
    pub cluster: &'a Cluster,
    /// Where the first pod of a scene runs, and where its second one does.
    pub nodes: [&'a str; 2],
}

impl Stage<'_> {
    /// The claim `modified`, used by the pod `user-of-modified`, changes with its attributes class and is told what cannot
    /// change.
    ///
    /// # Errors
    /// What is not so.
    pub fn a_claim_in_use_changes(&self) -> Result<String> {
        let cluster = self.cluster;
        for (class, mode) in [("gold", "\"0771\""), ("silver", "\"0711\""), ("wrong", "gold")] {
            cluster.apply(&format!(
                "apiVersion: storage.k8s.io/v1\nkind: VolumeAttributesClass\nmetadata: {{name: {class}}}\n\
                 driverName: csi.leister.io\nparameters: {{unixPermissions: {mode}}}\n"
            ))?;
        }
        cluster.claim("modified", "volumeAttributesClassName: gold")?;
        self.pod("user-of-modified", 0, "modified", COUNTS, FILES)?;
        cluster.ready("user-of-modified")?;
        let class = |class: &str| {
            let patch = format!("{{\"spec\":{{\"volumeAttributesClassName\":\"{class}\"}}}}");
            cluster.kubectl(&["patch", "pvc/modified", "-p", &patch])?.ok()
        };
        let started = Instant::now();
        class("silver")?;
        cluster.wait("pvc/modified", "jsonpath={.status.currentVolumeAttributesClassName}=silver")?;
        println!("modified in {:.2?}", started.elapsed());
        // A node may remember for a while how a file was.
        until("the pod to see the change", LIMIT, || {
            let seen = cluster.exec("user-of-modified", "stat -c %a /data; cat /data/file").ok()?;
            (seen == "711\nprecious").then_some(())
        })?;
        class("wrong")?;
        println!("{}", cluster.event("modified", "octal")?);
        class("silver")?;
        let number = || cluster.exec("user-of-modified", "cat /data/n").ok()?.parse::<u64>().ok();
        let now = until("the pod's number", LIMIT, number)?;
        until("the pod to write on", LIMIT, || number().filter(|later| *later > now))?;
        ensure!(cluster.exec("user-of-modified", "test ! -e /tmp/failed && echo well")? == "well");
        cluster.volume("modified")
    }

    /// The claim `raw` is a device, written in one pod and read in the next, `raw-reader`.
    ///
    /// # Errors
    /// What is not so.
    pub fn a_raw_device_keeps_its_data(&self) -> Result<String> {
        let cluster = self.cluster;
        cluster.claim("raw", "volumeMode: Block")?;
        let write = "echo precious | dd of=/dev/data bs=512 seek=7 conv=fsync,sync";
        self.pod("raw-writer", 0, "raw", write, DEVICE)?;
        cluster.ready("raw-writer")?;
        let size = cluster.exec("raw-writer", "blockdev --getsize64 /dev/data")?;
        ensure!(size == (64 << 20).to_string(), "{size}");
        cluster.delete(&["pod/raw-writer"])?;
        self.pod("raw-reader", 1, "raw", "", DEVICE)?;
        cluster.ready("raw-reader")?;
        let read = "dd if=/dev/data bs=512 skip=7 count=1 2>/dev/null | head -n 1";
        let read = cluster.exec("raw-reader", read)?;
        ensure!(read == "precious", "{read:?}");
        cluster.volume("raw")
    }

    /// The claim `alone` is for one pod; the second one, `two`, waits until the first has ended.
    ///
    /// # Errors
    /// What is not so.
    pub fn a_claim_for_one_pod_is_refused_to_a_second(&self) -> Result<String> {
        let cluster = self.cluster;
        cluster.claim("alone", "accessModes: [ReadWriteOncePod]")?;
        self.pod("one", 0, "alone", "echo precious >/data/file; sync", FILES)?;
        cluster.ready("one")?;
        self.pod("two", 1, "alone", "", FILES)?;
        println!("{}", cluster.event("two", "ReadWriteOncePod")?);
        ensure!(cluster.exec("one", "cat /data/file")? == "precious");
        cluster.delete(&["pod/one"])?;
        cluster.ready("two")?;
        ensure!(cluster.exec("two", "cat /data/file")? == "precious");
        cluster.volume("alone")
    }

    /// The claim `late` is larger than what is left: its pod, `patient`, waits with the scheduler's words, and goes on when
    /// there is room.
    ///
    /// # Errors
    /// What is not so.
    pub fn a_pod_waits_for_room(&self) -> Result<String> {
        let cluster = self.cluster;
        cluster.apply(
            "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: late}\n\
             provisioner: csi.leister.io\nvolumeBindingMode: WaitForFirstConsumer\n",
        )?;
        let room = || {
            let words = ["-n", "leister", "get", "csistoragecapacities", "-o", "json"];
            let told: Value = serde_json::from_str(&cluster.kubectl(&words).ok()?.ok().ok()?).ok()?;
            let of_class = |own: &&Value| own["storageClassName"] == "late";
            let most = told["items"].as_array()?.iter().find(of_class)?["maximumVolumeSize"].clone();
            mib(most.as_str()?)
        };
        let before = until("the room to be told", LIMIT, room)?;
        // Half of it, so that others have theirs, and need not be as they are.
        cluster.claim("filler", &format!("resources: {{requests: {{storage: {}Mi}}}}", before / 2))?;
        cluster.bound("filler")?;
        let left = until("less room to be told", LIMIT, || room().filter(|left| *left < before / 4 * 3))?;
        let wanted = left + before / 4;
        let wanted = format!("storageClassName: late\n  resources: {{requests: {{storage: {wanted}Mi}}}}");
        cluster.claim("late", &wanted)?;
        self.pod("patient", 1, "late", "", FILES)?;
        println!("{}", cluster.event("patient", "did not have enough free storage")?);
        let volume = cluster.get("pvc/late")?["spec"]["volumeName"].clone();
        ensure!(volume.is_null(), "nothing is made for it: {volume}");
        cluster.delete(&["pvc/filler"])?;
        let started = Instant::now();
        cluster.ready("patient")?;
        println!("a pod went on {:.1?} after there was room", started.elapsed());
        cluster.volume("late")
    }

    fn pod(&self, name: &str, node: usize, claim: &str, script: &str, place: &str) -> Result<()> {
        let there = format!("nodeSelector: {{kubernetes.io/hostname: {}}}", self.nodes[node]);
        self.cluster.apply(&pod(name, claim, script, place, &[&there]))
    }
}

/// A size as Kubernetes writes it.
fn mib(size: &str) -> Option<u64> {
    let (number, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
    let number: u64 = number.parse().ok()?;
    match unit {
        "" => Some(number >> 20),
        "Ki" => Some(number >> 10),
        "Mi" => Some(number),
        "Gi" => Some(number << 10),
        _ => None,
    }
}
