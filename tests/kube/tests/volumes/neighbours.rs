//! A node's kubelet that is elsewhere, and a plugin of the same name that is there already.

use std::fs;

use anyhow::{Result, ensure};
use kube_suite::{NODE, needs_the_machine, until};

use crate::site::{LIMIT, Site};

const STRAY: &str = "stray.leister.io";

#[test]
fn a_plugin_beside_another_kubelets_directory_says_so_and_serves_beside_the_right_one() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let said = refused(&site, &words(&site, "gone", &[&kubelet(&site, "nowhere")]))?;
    ensure!(said.contains("there is no directory of a kubelet at"), "{said}");

    fs::create_dir_all(site.path("other-kubelet"))?;
    let serve = |directory: &str| {
        let words = words(&site, "stray", &[&format!("--csi-name={STRAY}"), &kubelet(&site, directory)]);
        site.serve_leister_as("stray", &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    serve("other-kubelet")?;
    until("it to say that nobody asks", LIMIT, || {
        site.log("stray").ok()?.contains("is --kubelet-dir the kubelet's --root-dir?").then_some(())
    })?;
    ensure!(!site.plugins()?.iter().any(|name| name == STRAY), "{:?}", site.plugins()?);
    let mounts = site.shell("cat /proc/mounts")?.ok()?;
    ensure!(!mounts.contains("other-kubelet"), "{mounts}");
    site.stop("stray")?;

    serve("kubelet")?;
    until("the kubelet to know it", LIMIT, || {
        site.plugins().ok()?.iter().any(|name| name == STRAY).then_some(())
    })?;
    site.stop("stray")
}

#[test]
fn a_second_plugin_of_a_name_is_refused_on_a_node_and_the_first_one_serves_on() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let _quiet = site.quiet();
    let own = format!("--csi-endpoint={}", site.path("second.sock").display());
    let kubelet = kubelet(&site, "kubelet");
    for (more, told) in [
        (&[kubelet.as_str()][..], "another process answers on"),
        (&[&kubelet, &own], "another process is the CSI plugin `csi.leister.io` of this node's kubelet"),
    ] {
        let said = refused(&site, &words(&site, "second", more))?;
        ensure!(said.contains(told), "{said}");
    }
    site.claim("undisturbed", "")?;
    site.pod("undisturbed", "undisturbed", "echo precious >/data/file; sync")?;
    site.ready("undisturbed")?;
    let volume = site.volume("undisturbed")?;
    site.delete(&["pod/undisturbed", "pvc/undisturbed"])?;
    site.gone(&[&volume])
}

fn kubelet(site: &Site, directory: &str) -> String {
    format!("--kubelet-dir={}", site.path(directory).display())
}

/// Another instance on the node.
fn words(site: &Site, name: &str, more: &[&str]) -> Vec<String> {
    let state = format!("--state-dir={}", site.path(&format!("{name}.state")).display());
    let own = ["run", "--listen=none", "--node", NODE, "--name", name, &state];
    own.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn refused(site: &Site, words: &[String]) -> Result<String> {
    let said = site.leister(&words.iter().map(String::as_str).collect::<Vec<_>>())?.refused()?;
    println!("{said}");
    Ok(said)
}
