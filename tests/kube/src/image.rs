//! Images of containers, made by hand: one layer with a static program.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use docker_suite::{find, run_within};

/// The image that the pods of tests are made of.
pub const BUSYBOX: &str = "leister.test/busybox:1";
/// The one that holds a pod together.
pub(crate) const PAUSE: &str = "leister.test/pause:1";
const LIMIT: Duration = Duration::from_secs(120);

/// Writes an archive with both, as `docker save` would.
pub(crate) fn write(folder: &Path, archive: &Path) -> Result<()> {
    let root = folder.join("root");
    fs::create_dir_all(root.join("bin"))?;
    let busybox = find("busybox").context("busybox is not installed")?;
    fs::copy(&busybox, root.join("bin/busybox")).context("cannot copy busybox")?;
    let commands = run_within(Command::new(&busybox).arg("--list"), LIMIT)?.ok()?;
    for command in commands.lines().filter(|command| *command != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(command))?;
    }
    fs::create_dir_all(root.join("tmp"))?;
    let layer = folder.join("layer.tar");
    run_within(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&layer).arg("."), LIMIT)?.ok()?;
    let sum = run_within(Command::new("sha256sum").arg(&layer), LIMIT)?.ok()?;
    let sum = sum.split(' ').next().unwrap_or_default();
    let image = |file: &str, name: &str, command: &[&str]| -> Result<serde_json::Value> {
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Env": ["PATH=/bin"], "Cmd": command },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
        });
        fs::write(folder.join(file), config.to_string())?;
        Ok(json!({ "Config": file, "RepoTags": [name], "Layers": ["layer.tar"] }))
    };
    let images = [
        image("busybox.json", BUSYBOX, &["/bin/sh"])?,
        image("pause.json", PAUSE, &["/bin/tail", "-f", "/dev/null"])?,
    ];
    fs::write(folder.join("manifest.json"), json!(images).to_string())?;
    let files = ["manifest.json", "busybox.json", "pause.json", "layer.tar"];
    run_within(Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(archive).args(files), LIMIT)?.ok()?;
    Ok(())
}
