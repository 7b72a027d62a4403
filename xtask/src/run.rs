//! `make demo`, `make run`, `make bench`, `make faults`: builds what they need and hands over.

use std::os::unix::process::CommandExt as _;
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
