//! `make cluster`: a cluster to try things on, until it is ended.

#![allow(clippy::print_stdout, reason = "it speaks to a person")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kube_suite::{CONTROLLERS, Fleet, lacking};
use rig::{Backend, Rig};

fn main() -> Result<()> {
    let folder =
        PathBuf::from(std::env::args_os().nth(1).context("the folder for what people need is missing")?);
    if let Some(reason) = lacking().or_else(|| Rig::available(Backend::Uml).err()) {
        bail!("no cluster can run here: {reason}");
    }
    println!(
        "three machines boot, two of them become nodes; the first time, Kubernetes is built: some 15 minutes"
    );
    let rig = Fleet::boot()?;
    let fleet = Fleet::start(&rig)?;
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("pid"), std::process::id().to_string())?;
    script(&folder.join("kubectl"), &fleet.cluster.kubectl_line())?;
    let [leader, _] = CONTROLLERS;
    let leister = fleet.cluster.leister_line(&format!("{leader}.rest.sock"))?;
    script(&folder.join("leister"), &leister)?;
    let here = folder.display();
    println!(
        "\nThe cluster is there: nodes node1 and node2, storage over NFS and iSCSI from a third machine.\n\n  \
         {here}/kubectl get nodes,storageclasses\n  {here}/leister get volumes\n\n\
         It ends with Ctrl-C, or `make cluster-down`."
    );
    loop {
        std::thread::park();
    }
}

/// A program that adds a person's words to a line.
fn script(file: &Path, line: &str) -> Result<()> {
    fs::write(file, format!("#!/bin/sh\nexec {line} \"$@\"\n"))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).context("cannot make it a program")
}
