//! What the chart gives, without a cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use kube_suite::Helm;
use serde_json::Value;

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

#[test]
fn values_that_mean_nothing_are_refused_by_name() -> Result<()> {
    let helm = Helm::get()?;
    for (value, named) in [
        ("mode=both", "mode"),
        ("contoller.replicas=3", "contoller"),
        ("controller.replicas=0", "replicas"),
        ("kubeletDir=kubelet", "kubeletDir"),
        ("backends.files.ontap=x", "ontap"),
        ("node.topology={zone}", "topology"),
        ("single.pool.size=much", "size"),
        ("log.format=xml", "format"),
        // Of nodes without a place csi-provisioner tells no room.
        ("storageCapacity=true", "topology"),
    ] {
        let refused = helm.template(&["leister", &chart(), "--set", value]).err();
        let said = format!("{:#}", refused.with_context(|| format!("`{value}` was taken"))?);
        ensure!(said.contains("schema") && said.contains(named), "{value}: {said}");
    }
    Ok(())
}

#[test]
fn each_value_is_in_the_documentation_with_its_default() -> Result<()> {
    let mut wanted = Vec::new();
    flatten("", &values()?, 1, &mut wanted);
    let page = fs::read_to_string(root().join("docs/kubernetes.md"))?;
    let (_, table) = page.split_once("\n## Values\n").context("docs/kubernetes.md has no `## Values`")?;
    let (table, _) = table.split_once("\n## ").unwrap_or((table, ""));
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    for (row, start) in rows.iter().zip(&wanted) {
        ensure!(row.starts_with(start), "docs/kubernetes.md: `{row}` should begin with `{start}`");
    }
    ensure!(rows.len() == wanted.len(), "{} rows for {} values", rows.len(), wanted.len());
    Ok(())
}

#[test]
fn the_chart_names_the_versions_that_are_tested() -> Result<()> {
    let values = values()?;
    for (sidecar, module) in [
        ("provisioner", "provisioner"),
        ("attacher", "cluster"),
        ("resizer", "cluster"),
        ("snapshotter", "cluster"),
    ] {
        let image = values["sidecars"][sidecar].as_str().context("a name of an image")?;
        let (program, version) = image.split_once(':').context("an image has a version")?;
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(module).join("go.mod");
        let text = fs::read_to_string(module)?;
        let is_its = |line: &str| {
            let mut words = line.split_whitespace();
            words.any(|word| word.contains(&format!("external-{sidecar}/"))) && words.next() == Some(version)
        };
        ensure!(program == format!("csi-{sidecar}") && text.lines().any(is_its), "{image} is not tested");
    }
    let chart = fs::read_to_string(Path::new(&chart()).join("Chart.yaml"))?;
    for line in ["version", "appVersion"].map(|key| format!("\n{key}: {}\n", env!("CARGO_PKG_VERSION"))) {
        ensure!(chart.contains(&line), "Chart.yaml lacks `{}`", line.trim());
    }
    Ok(())
}

#[test]
fn processes_outside_of_the_cluster_have_the_same_rights() -> Result<()> {
    let words = [
        "leister",
        &chart(),
        "--namespace",
        NAMESPACE,
        "--set=snapshots.enabled=true",
        "--set=backends.trident=true",
        "--set=controller.lostNodesAfter=5m",
    ];
    let rendered = Helm::get()?.template(&words)?;
    for (file, theirs, ours) in [
        (
            "leister.yaml",
            "kind: ClusterRole\nmetadata:\n  name: leister-sidecars\n",
            "leister-leister-sidecars\n",
        ),
        ("store.yaml", "kind: Role\nmetadata:\n  name: leister-store\n", "leister-controller\n"),
        (
            "lost-nodes.yaml",
            "kind: ClusterRole\nmetadata:\n  name: leister-lost-nodes\n",
            "leister-leister-lost-nodes\n",
        ),
    ] {
        let text = fs::read_to_string(root().join("deploy/kubernetes").join(file))?;
        let ours = format!("Role\nmetadata:\n  name: {ours}");
        let (theirs, ours) = (rules(&text, theirs)?, rules(&rendered, &ours)?);
        ensure!(theirs == ours, "{file} and the chart differ:\n{theirs:#?}\n{ours:#?}");
    }
    Ok(())
}

#[test]
fn snapshots_of_several_claims_have_a_class_rights_and_the_gate_when_they_are_wanted() -> Result<()> {
    let chart = chart();
    let words = ["leister", &chart, "--namespace", NAMESPACE, "--set=snapshots.enabled=true"];
    let without = Helm::get()?.template(&words)?;
    let with = Helm::get()?.template(&[&words[..], &["--set=snapshots.groups=true"]].concat())?;
    for part in [
        "kind: VolumeGroupSnapshotClass",
        "volumegroupsnapshotcontents/status",
        "CSIVolumeGroupSnapshot=true",
    ] {
        ensure!(with.contains(part) && !without.contains(part), "{part}: {with}");
    }
    Ok(())
}

/// The lines of the rules of a role, which begins like this.
fn rules<'a>(manifests: &'a str, role: &str) -> Result<Vec<&'a str>> {
    let (_, role) = manifests.split_once(role).with_context(|| format!("no role `{role}`"))?;
    let (_, rules) = role.split_once("rules:\n").context("no rules")?;
    let (rules, _) = rules.split_once("\n---").context("it is the last one")?;
    let lines = rules.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.collect())
}

/// As Helm reads them.
fn values() -> Result<Value> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("templates"))?;
    fs::copy(Path::new(&chart()).join("values.yaml"), folder.path().join("values.yaml"))?;
    fs::write(folder.path().join("Chart.yaml"), "apiVersion: v2\nname: shown\nversion: 0.1.0\n")?;
    fs::write(folder.path().join("templates/values.yaml"), "values: {{ toJson .Values }}\n")?;
    let said = Helm::get()?.template(&["shown", &folder.path().display().to_string()])?;
    let line = said.lines().find_map(|line| line.strip_prefix("values: "));
    Ok(serde_json::from_str(line.context("no values")?)?)
}

/// The beginnings of their rows.
fn flatten(path: &str, value: &Value, depth: usize, rows: &mut Vec<String>) {
    // Deeper ones are in the words of Kubernetes.
    const DEEPEST: usize = 3;
    match value {
        Value::Object(map) if !map.is_empty() && depth <= DEEPEST => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, depth + 1, rows);
            }
        }
        Value::String(text) if text.is_empty() => rows.push(format!("| `{path}` | |")),
        Value::String(text) => rows.push(format!("| `{path}` | `{text}` |")),
        value => rows.push(format!("| `{path}` | `{value}` |")),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
