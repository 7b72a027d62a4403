//! `make demo`, `make run`, `make bench`, `make faults`, `make cluster`, `make image`: builds what they need and hands over.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build::{self, Profile};
use crate::checkout::Checkout;
use crate::leftovers;
use crate::suites::environment;
use crate::test;

pub(crate) fn demo(checkout: &Checkout) -> Result<()> {
    build::programs(checkout, Profile::Dev, &["leister", "demo"])?;
    test::prepare(checkout)?;
    let mut demo = Command::new(checkout.bin("demo"));
    let status = environment(&mut demo, checkout).status().context("the demo did not start")?;
    leftovers::none(&leftovers::find(&[checkout.temporary()]))?;
    ensure!(status.success(), "the demo failed");
    leftovers::sweep(&checkout.temporary())
}

/// Becomes `leister run`, so that signals reach it.
pub(crate) fn serve(checkout: &Checkout) -> Result<()> {
    build::programs(checkout, Profile::Dev, &["leister"])?;
    let folder = checkout.var().join("run");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut leister = Command::new(checkout.bin("leister"));
    leister.args(["run", "--name", "leister", "--pool-size", "20GiB", "--listen", "127.0.0.1:8000"]);
    leister.arg("--state-dir").arg(folder.join("state"));
    leister.arg("--pool").arg(folder.join("pool"));
    // Where the CLI looks for it.
    leister.args(["--socket", "/run/leister/leister.sock"]);
    leister.arg("--config").arg(checkout.root.join("deploy/examples/classes.yaml"));
    Err(leister.exec()).context("leister did not start")
}

pub(crate) fn bench(checkout: &Checkout) -> Result<()> {
    build::programs(checkout, Profile::Release, &["leister", "bench"])?;
    test::prepare(checkout)?;
    for what in ["scale", "system"] {
        let mut bench = Command::new(checkout.bin("bench"));
        let status =
            environment(bench.arg(what), checkout).status().context("the benchmark did not start")?;
        ensure!(status.success(), "the benchmark `{what}` failed");
    }
    leftovers::none(&leftovers::find(&[checkout.temporary()]))?;
    leftovers::sweep(&checkout.temporary())
}

pub(crate) fn faults(checkout: &Checkout, arguments: &[String]) -> Result<()> {
    build::programs(checkout, Profile::Dev, &["leister", "faults", "writer"])?;
    test::prepare(checkout)?;
    let mut faults = Command::new(checkout.bin("faults"));
    let status = environment(faults.args(arguments), checkout).status().context("faults did not start")?;
    leftovers::none(&leftovers::find(&[checkout.temporary()]))?;
    ensure!(status.success(), "a fault had another end than it should have");
    leftovers::sweep(&checkout.temporary())
}

/// Becomes the program, with which everything in it ends.
pub(crate) fn cluster(checkout: &Checkout) -> Result<()> {
    build::programs(checkout, Profile::Dev, &["leister", "cluster"])?;
    test::prepare(checkout)?;
    let folder = cluster_folder(checkout);
    ensure!(running(&folder).is_none(), "it runs already: `make cluster-down` ends it");
    let mut cluster = Command::new(checkout.bin("cluster"));
    Err(environment(cluster.arg(folder), checkout).exec()).context("the cluster did not start")
}

pub(crate) fn cluster_down(checkout: &Checkout) -> Result<()> {
    let folder = cluster_folder(checkout);
    if let Some(pid) = running(&folder) {
        let ended = Command::new("kill").arg(&pid).status().context("cannot run kill")?;
        ensure!(ended.success(), "the cluster's process {pid} cannot be ended");
        let wait = Command::new("tail").args([&format!("--pid={pid}"), "-f", "/dev/null"]).status();
        wait.context("cannot wait for its end")?;
    }
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Writes the image of a released program to `var/image`.
pub(crate) fn image(checkout: &Checkout) -> Result<()> {
    build::programs(checkout, Profile::Release, &["image", "leister"])?;
    let folder = checkout.var().join("image");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let archive = folder.join(format!("leister-{}.tar", env!("CARGO_PKG_VERSION")));
    let mut image = Command::new(checkout.bin("image"));
    image.arg(checkout.bin("leister")).arg(archive);
    let status = image.status().context("the program did not start")?;
    ensure!(status.success(), "the image was not made");
    Ok(())
}

fn cluster_folder(checkout: &Checkout) -> PathBuf {
    checkout.var().join("cluster")
}

/// The process that the cluster lives in, if it does.
fn running(folder: &Path) -> Option<String> {
    let pid = std::fs::read_to_string(folder.join("pid")).ok()?;
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim())).ok()?;
    (name.trim() == "cluster").then_some(pid)
}
