//! Mode `single`, by plain manifests: one pod that is all of Leister, with a pool of the node.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{FILES, pod, until};

use crate::site::{LIMIT, NAMESPACE, Site, chart};

pub(crate) fn a_pod_uses_a_pool_of_the_node(site: &Site) -> Result<()> {
    let values = site.values("single", "mode: single\nsingle: {pool: {size: 2GiB}}\n")?.display().to_string();
    let words =
        ["leister", &chart(), "--namespace", NAMESPACE, "--set=namespace.create=true", "--values", &values];
    let file = site.path("single.yaml");
    fs::write(&file, site.helm.template(&words)?)?;
    let file = file.display().to_string();
    site.kubectl(&["apply", "-f", &file])?.ok()?;
    site.pods_ready("single", 1)?;
    site.wait_for_plugin().with_context(|| site.story())?;
    let differs = site.kubectl(&["diff", "-f", &file])?.ok().context("a second apply would change")?;
    ensure!(differs.is_empty(), "a second apply would change: {differs}");

    site.claim("data")?;
    user(site, "writer", "data", "echo precious >/data/file && sync")?;
    ensure!(read(site, "writer")? == "precious");

    // Its pod may go at any time: users go on, and it finds everything again.
    let pod = format!("{NAMESPACE}/leister-0");
    let before = uid(site)?;
    site.kubectl(&["-n", NAMESPACE, "delete", "pod", "leister-0", "--timeout=120s"])?.ok()?;
    ensure!(read(site, "writer")? == "precious", "while {pod} is away");
    until("another pod", LIMIT, || uid(site).ok().filter(|uid| *uid != before))?;
    site.pods_ready("single", 1)?;
    site.wait_for_plugin().with_context(|| site.story())?;
    ensure!(read(site, "writer")? == "precious", "with another {pod}");
    site.claim("more")?;
    user(site, "other", "more", "echo precious >/data/file && sync")?;
    ensure!(read(site, "other")? == "precious");

    for pod in ["writer", "other"] {
        site.kubectl(&["delete", "pod", pod, "--timeout=120s"])?.ok().with_context(|| site.story())?;
    }
    for claim in ["data", "more"] {
        site.unclaim(claim)?;
    }
    site.kubectl(&["delete", "-f", &file, "--timeout=150s"])?.ok()?;
    site.nothing_left()
}

fn uid(site: &Site) -> Result<String> {
    site.kubectl(&["-n", NAMESPACE, "get", "pod", "leister-0", "-o", "jsonpath={.metadata.uid}"])?.ok()
}

/// A pod that runs a script and then stays, with a claim at `/data`.
fn user(site: &Site, name: &str, claim: &str, script: &str) -> Result<()> {
    site.apply(&pod(name, claim, script, FILES, &[]))?;
    let took = site.wait(&format!("pod/{name}"), "condition=Ready").with_context(|| site.story())?;
    println!("pod {name} ready in {took:.1?}");
    Ok(())
}

fn read(site: &Site, pod: &str) -> Result<String> {
    site.kubectl(&["exec", pod, "--", "cat", "/data/file"])?.ok()
}
