//! containerd, with everything of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::daemon::Daemon;
use crate::image;
use crate::space::Space;
use docker_suite::find;
use docker_suite::until;

pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";
/// Pods use the node's network: the test is of storage. Without any network there is no node, though.
pub(crate) const NETWORK: &str = r#"{"cniVersion":"0.4.0","name":"none","plugins":[{"type":"loopback"}]}"#;
const LIMIT: Duration = Duration::from_secs(120);

/// Its state is below `/run`, which is the cluster's own.
pub(crate) fn daemon(folder: &Path, log: &Path) -> Result<Daemon> {
    let networks = folder.join("networks");
    fs::create_dir_all(&networks)?;
    fs::write(networks.join("10-none.conflist"), NETWORK)?;
    let file = folder.join("containerd.toml");
    fs::write(&file, config(&folder.join("containerd"), &networks))?;
    let program = find("containerd").context("containerd is not installed")?;
    Ok(Daemon::new("containerd", program, vec!["--config".into(), file.display().to_string()], log.into()))
}

pub(crate) fn config(root: &Path, networks: &Path) -> String {
    format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{networks}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#,
        root = root.display(),
        pause = image::PAUSE,
        networks = networks.display(),
    )
}

/// Gives it the images.
pub(crate) fn fill(space: &Space, archive: &Path) -> Result<()> {
    let ctr = find("ctr").context("ctr is not installed")?;
    let run = |words: &[&str]| {
        let mut command = space.command(&ctr);
        space.run(command.args(["--address", SOCKET, "--namespace", "k8s.io"]).args(words), LIMIT)
    };
    until("containerd", LIMIT, || run(&["version"]).ok()?.ok().ok())?;
    run(&["images", "import", &archive.display().to_string()])?.ok().map(drop)
}
