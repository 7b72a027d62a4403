//! The cluster itself, without Leister.
#![allow(clippy::print_stdout, reason = "skips and measured times are printed")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube_suite::{BUSYBOX, Cluster, Programs, needs_the_machine, until};

/// Set in the process that is killed.
const HELD: &str = "KUBE_SUITE_HELD";
const TEST: &str = "a_cluster_runs_a_pod_and_is_gone_when_its_owner_is_killed";
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_cluster_runs_a_pod_and_is_gone_when_its_owner_is_killed() -> Result<()> {
    needs_the_machine!();
    if std::env::var_os(HELD).is_some() {
        return hold();
    }
    let started = Instant::now();
    Programs::get()?;
    println!("programs there after {:.0?}", started.elapsed());
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--exact", TEST, "--nocapture"])
        .env(HELD, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut folder = None;
    for line in BufReader::new(owner.stdout.take().context("no pipe")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some((_, path)) = line.split_once("held: ") {
            folder = Some(path.to_owned());
            break;
        }
    }
    owner.kill()?;
    owner.wait()?;
    let folder = folder.context("the cluster did not come up")?;
    let folder = Path::new(&folder);
    let mut left = String::new();
    until("everything to be gone", LIMIT, || {
        left = leftovers(folder).unwrap_or_else(|error| format!("{error:#}"));
        left.is_empty().then_some(())
    })
    .with_context(|| left.clone())
}

/// Starts a cluster, uses it, and waits to be killed.
fn hold() -> Result<()> {
    let started = Instant::now();
    let cluster = Cluster::start()?;
    println!("cluster up in {:.1?}", started.elapsed());
    let started = Instant::now();
    cluster.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: first}}, spec: {{hostNetwork: true,
          automountServiceAccountToken: false,
          containers: [{{name: main, image: '{BUSYBOX}', imagePullPolicy: Never,
            command: [sh, -c, 'echo hello; sleep 1000']}}]}}}}"
    ))?;
    cluster.wait("pod/first", "condition=Ready")?;
    println!("pod ready in {:.1?}", started.elapsed());
    ensure!(cluster.kubectl(&["logs", "first"])?.ok()? == "hello");
    println!("held: {}", cluster.path("").display());
    loop {
        std::thread::park();
    }
}

/// What still names the cluster's folder.
fn leftovers(folder: &Path) -> Result<String> {
    let name = folder.file_name().context("a folder has a name")?.to_string_lossy().into_owned();
    if folder.exists() {
        return Ok(format!("{} is still there", folder.display()));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    if mounts.contains(&name) {
        return Ok(mounts);
    }
    for process in std::fs::read_dir("/proc")? {
        let words = std::fs::read(process?.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        if words.contains(&name) {
            return Ok(words);
        }
    }
    let cgroups = Command::new("find").args(["/sys/fs/cgroup", "-name"]).arg(format!("*{name}*")).output()?;
    Ok(String::from_utf8_lossy(&cgroups.stdout).into_owned())
}
