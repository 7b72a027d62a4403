//! Images of one static program, for tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Image, LIMIT, layer};
use crate::programs::Programs;
use docker_suite::{find, run_within};

/// The image that the pods of tests are made of.
pub const BUSYBOX: &str = "leister.test/busybox:1";
/// The one that holds a pod together.
pub(crate) const PAUSE: &str = "leister.test/pause:1";

/// What every cluster has.
pub(crate) fn for_pods(folder: &Path) -> Result<Vec<Image>> {
    let root = folder.join("busybox");
    fs::create_dir_all(root.join("bin"))?;
    let busybox = find("busybox").context("busybox is not installed")?;
    fs::copy(&busybox, root.join("bin/busybox")).context("cannot copy busybox")?;
    let commands = run_within(Command::new(&busybox).arg("--list"), LIMIT)?.ok()?;
    for command in commands.lines().filter(|command| *command != "busybox") {
        symlink("busybox", root.join("bin").join(command))?;
    }
    fs::create_dir_all(root.join("tmp"))?;
    let archive = folder.join("busybox.tar");
    layer(&root, ".", &archive)?;
    let image = |name: &str, command: &[&str]| Image {
        name: name.to_owned(),
        layers: vec![archive.clone()],
        config: json!({ "Env": ["PATH=/bin"], "Cmd": command }),
    };
    Ok(vec![image(BUSYBOX, &["/bin/sh"]), image(PAUSE, &["/bin/tail", "-f", "/dev/null"])])
}

/// The sidecars of CSI, each in a layer of its own, with names as `registry/csi-attacher:v1`.
pub(crate) fn sidecars(folder: &Path, programs: &Programs, names: &[String]) -> Result<Vec<Image>> {
    let image = |name: &String| -> Result<Image> {
        let program = name.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
        let archive = folder.join(format!("{program}.tar"));
        layer(programs.folder(), program, &archive)?;
        let config = json!({ "Entrypoint": [format!("/{program}")] });
        Ok(Image { name: name.clone(), layers: vec![archive], config })
    };
    names.iter().map(image).collect()
}
