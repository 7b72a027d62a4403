//! The pods and claims of tests.

use crate::image::BUSYBOX;

/// Where a pod has its claim as files.
pub const FILES: &str = "volumeMounts: [{name: data, mountPath: /data}]";
/// Where it has it as a device.
pub(crate) const DEVICE: &str = "volumeDevices: [{name: data, devicePath: /dev/data}]";

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

/// A claim of 64 MiB in the class `leister`, unless more lines of its spec say otherwise.
pub fn claim(name: &str, more: &str) -> String {
    // The later of two lines of one name would be refused.
    let default =
        |key: &str, line: &str| if more.contains(key) { String::new() } else { format!("  {line}\n") };
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n{}{}{}  {more}\n",
        default("accessModes", "accessModes: [ReadWriteOnce]"),
        default("storageClassName", "storageClassName: leister"),
        default("resources", "resources: {requests: {storage: 64Mi}}"),
    )
}
