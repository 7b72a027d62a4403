//! Images of containers, made without an engine: layers, and what is run on them.

mod plain;
mod root;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use docker_suite::run_within;
pub use plain::BUSYBOX;
pub(crate) use plain::{PAUSE, for_pods, sidecars};
pub use root::Product;

const LIMIT: Duration = Duration::from_secs(600);

/// What an archive has of one image.
pub(crate) struct Image {
    pub(crate) name: String,
    /// Archives of files, the lowest one first.
    pub(crate) layers: Vec<PathBuf>,
    /// How it is run, in the words of the OCI's image configuration.
    pub(crate) config: Value,
}

/// Writes an archive as `docker save` would: what `docker load` and `ctr images import` take.
///
/// # Errors
/// A layer cannot be read, or the archive not written.
pub(crate) fn write(folder: &Path, archive: &Path, images: &[Image]) -> Result<()> {
    fs::create_dir_all(folder)?;
    // One layer of several images is there once.
    let mut layers = BTreeMap::new();
    let mut files = vec!["manifest.json".to_owned()];
    let mut manifest = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let mut names = Vec::new();
        let mut sums = Vec::new();
        for layer in &image.layers {
            if !layers.contains_key(layer) {
                let sum = sum(layer)?;
                let name = format!("{sum}.tar");
                symlink(fs::canonicalize(layer)?, folder.join(&name))?;
                files.push(name);
                layers.insert(layer.clone(), sum);
            }
            names.push(format!("{}.tar", layers[layer]));
            sums.push(format!("sha256:{}", layers[layer]));
        }
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": image.config,
            "rootfs": { "type": "layers", "diff_ids": sums },
        });
        let file = format!("{number}.json");
        fs::write(folder.join(&file), config.to_string())?;
        manifest.push(json!({ "Config": file, "RepoTags": [image.name], "Layers": names }));
        files.push(file);
    }
    fs::write(folder.join("manifest.json"), json!(manifest).to_string())?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(folder).arg("--dereference").arg("-cf").arg(archive).args(files);
    run_within(&mut tar, LIMIT)?.ok().context("cannot write the archive").map(drop)
}

/// Makes a layer of something in a folder: the same one for the same files, whoever owns them here.
fn layer(folder: &Path, what: &str, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--sort=name"]);
    run_within(tar.arg("-C").arg(folder).arg("-cf").arg(archive).arg(what), LIMIT)?.ok().map(drop)
}

fn sum(file: &Path) -> Result<String> {
    let said = run_within(Command::new("sha256sum").arg(file), LIMIT)?.ok()?;
    Ok(said.split(' ').next().unwrap_or_default().to_owned())
}
