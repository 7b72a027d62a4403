//! The kubelet and how it is configured on a machine that is not a node otherwise.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster::NODE;
use crate::containers::SOCKET;
use crate::daemon::Daemon;
use crate::programs::Programs;

/// With its directory moved, as some distributions have it.
pub(crate) fn daemon(
    programs: &Programs,
    folder: &Path,
    cgroup: &str,
    kubeconfig: &Path,
    log: &Path,
) -> Result<Daemon> {
    let root = folder.join("kubelet");
    fs::create_dir_all(&root)?;
    let config = config(&format!("/{cgroup}"), &folder.join("volume-plugins"));
    let file = folder.join("kubelet.json");
    fs::write(&file, config.to_string())?;
    let words = [
        format!("--config={}", file.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-dir={}", root.display()),
        format!("--cert-dir={}", root.join("pki").display()),
        format!("--hostname-override={NODE}"),
        "--node-ip=10.99.0.1".into(),
        "--v=2".into(),
    ];
    Ok(Daemon::new("kubelet", programs.path("kubelet"), words.into(), log.into()))
}

pub(crate) fn config(cgroup: &str, volume_plugins: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "enforceNodeAllocatable": [],
        "evictionHard": {},
        "failCgroupV1": false,
        // A full disk would cost images that nobody could get again.
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        "resolvConf": "",
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": volume_plugins,
        // Volumes are attached and detached by what it reports: ten seconds would be usual.
        "nodeStatusUpdateFrequency": "1s",
        // That a volume has grown is seen when its pod is looked at again: a minute would be usual.
        "syncFrequency": "5s",
        "registerNode": true,
    })
}
