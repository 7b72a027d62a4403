//! What the chart gives, without a cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use kube_suite::Helm;

use crate::site::{NAMESPACE, chart};

/// In it are the plain manifests.
const FILE: &str = "deploy/kubernetes/install.yaml";
const HEAD: &str = "# Leister in a cluster, with the values of deploy/helm/leister/values.yaml: what `helm template` gives. Written by\n\
                    # `UPDATE=1 cargo test -p kube-suite --test install manifests`.\n";

#[test]
fn the_plain_manifests_are_what_the_chart_gives() -> Result<()> {
    let words = ["leister", &chart(), "--namespace", NAMESPACE, "--set=namespace.create=true"];
    let rendered = format!("{HEAD}{}\n", Helm::get()?.template(&words)?);
    let file = root().join(FILE);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &rendered)?;
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    ensure!(there == rendered, "{FILE} is another one: run this test once with UPDATE=1");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
