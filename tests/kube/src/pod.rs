//! The pods of tests.

use crate::image::BUSYBOX;

/// Where a pod has its claim as files.
pub const FILES: &str = "volumeMounts: [{name: data, mountPath: /data}]";
/// Where it has it as a device.
pub const DEVICE: &str = "volumeDevices: [{name: data, devicePath: /dev/data}]";

/// A pod that runs a script and then stays, with a claim at one of these places, and more members of its spec in flow style.
pub fn pod(name: &str, claim: &str, script: &str, place: &str, more: &[&str]) -> String {
    let script = serde_json::Value::from(format!("{script}\ntouch /tmp/done; exec sleep 100000"));
    let more: String = more.iter().map(|member| format!("  {member}\n")).collect();
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
{more}  hostNetwork: true
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: Never
    command: [sh, -ec, {script}]
    readinessProbe: {{exec: {{command: [test, -e, /tmp/done]}}, periodSeconds: 1}}
    {place}
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: {claim}}}}}]
"
    )
}

/// A snapshot of a claim.
pub fn snapshot(name: &str, claim: &str) -> String {
    format!(
        "apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {{name: {name}}}
spec: {{volumeSnapshotClassName: leister, source: {{persistentVolumeClaimName: {claim}}}}}
"
    )
}
