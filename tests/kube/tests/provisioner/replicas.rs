//! Two replicas over one store: one works, and the other takes over.

use std::fs;
use std::time::Instant;

use anyhow::{Result, ensure};
use kube_suite::{needs_the_machine, until};

use crate::site::{LIMIT, Site, backend};

const REPLICAS: [&str; 2] = ["replica-1", "replica-2"];
const LEASE: &str = "two-provisioner";

#[test]
fn of_two_replicas_one_works_and_the_other_takes_over_when_it_is_killed() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    fs::write(site.path("two.yaml"), backend("two", "two_"))?;
    for name in REPLICAS {
        let account = ("leister-provisioner", "leister-provisioner");
        let kubeconfig = site.config_of(name, account)?.display().to_string();
        let file = |name: &str| site.path(name).display().to_string();
        let words = [
            "provisioner",
            "--kubeconfig",
            &kubeconfig,
            "--namespace=leister-provisioner",
            "--provisioner-name=example.org/two",
            "--name=two",
            "--cluster=two",
            "--listen=none",
            "--node",
            name,
            "--store=etcd",
            "--etcd-endpoints=http://127.0.0.1:2379",
            "--config",
            &file("two.yaml"),
            "--state-dir",
            &file(name),
            "--socket",
            &file(&format!("{name}.sock")),
        ];
        site.serve_leister_as(name, &words)?;
    }
    site.apply(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: two}\nprovisioner: example.org/two\n",
    )?;
    site.claim("before", "", "storageClassName: two")?;
    site.bound("before")?;
    let holder = || -> Option<String> {
        let lease = site
            .kubectl(&["get", "lease", LEASE, "-n", "leister-provisioner", "-o", "json"])
            .ok()?
            .ok()
            .ok()?;
        let lease: serde_json::Value = serde_json::from_str(&lease).ok()?;
        let holder = lease["spec"]["holderIdentity"].as_str()?.to_owned();
        REPLICAS.iter().find(|name| holder.starts_with(**name)).map(|name| (*name).to_owned())
    };
    let first = until("a holder of the Lease", LIMIT, holder)?;
    let started = Instant::now();
    site.kill(&first)?;
    site.claim("after", "", "storageClassName: two")?;
    site.bound("after")?;
    println!("{first} killed -> a new claim is Bound: {:.1?}", started.elapsed());
    let second = until("another holder", LIMIT, || holder().filter(|now| *now != first))?;
    ensure!(second != first);
    ensure!(site.on_array("two_default_")?.len() == 2, "{:?}", site.on_array("two_default_")?);
    // An orderly end leaves the Lease to the other at once.
    site.start_again(&first)?;
    site.stop(&second)?;
    let started = Instant::now();
    until("the first again", LIMIT, || holder().filter(|now| *now == first))?;
    println!("{second} stopped -> {first} holds the Lease: {:.1?}", started.elapsed());
    let volumes = [site.volume("before")?, site.volume("after")?];
    site.delete(&["pvc/before", "pvc/after", "storageclass/two"])?;
    for volume in &volumes {
        site.wait(&format!("pv/{volume}"), "delete")?;
    }
    until("nothing on the array", LIMIT, || site.on_array("two_default_").ok()?.is_empty().then_some(()))?;
    site.stop(&first)
}
