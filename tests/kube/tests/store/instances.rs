//! `leister run --store kubernetes`: two instances over an array, one killed while it works.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kube_suite::{array_backend, needs_the_machine, until};

use crate::site::{LIMIT, Site};

/// Whose rights they have, by `deploy/kubernetes`; its namespace has the records.
const ACCOUNT: (&str, &str) = (NAMESPACE, "leister-store");
const NAMESPACE: &str = "leister";
const MANY: usize = 12;

struct Instances(std::sync::Arc<Site>);

impl Instances {
    fn start(&self, name: &str) -> Result<()> {
        let site = &self.0;
        let file = |name: &str| site.path(name).display().to_string();
        fs::create_dir_all(site.path(&format!("{name}.plugins")))?;
        site.serve_leister_as(
            name,
            &[
                "run",
                "--store=kubernetes",
                "--kubeconfig",
                &file("records.kubeconfig"),
                "--namespace",
                NAMESPACE,
                "--node",
                name,
                "--listen=none",
                "--config",
                &file("array.yaml"),
                "--state-dir",
                &file(&format!("{name}.state")),
                "--plugin-dir",
                &file(&format!("{name}.plugins")),
                "--socket",
                &file(&format!("{name}.sock")),
            ],
        )?;
        self.until(&format!("{name} to serve"), || self.ask(name, &["version"]).ok()).map(drop)
    }

    fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
        let logs = || ["one", "two"].map(|name| self.0.log(name).unwrap_or_default()).join("\n---\n");
        until(what, LIMIT, look).with_context(logs)
    }

    fn ask(&self, name: &str, words: &[&str]) -> Result<String> {
        let socket = format!("unix://{}", self.0.path(&format!("{name}.sock")).display());
        self.0.leister(&[words, &["--server", &socket]].concat())?.ok()
    }

    fn volumes(&self, name: &str) -> Option<Vec<String>> {
        let said = self.ask(name, &["get", "volumes", "-o", "name"]).ok()?;
        Some(said.lines().map(str::to_owned).collect())
    }

    fn leader(&self, name: &str) -> Option<String> {
        let socket = self.0.path(&format!("{name}.sock"));
        let ask = format!("curl -sSf --unix-socket {} http://localhost/v1/version", socket.display());
        let said: serde_json::Value = serde_json::from_str(&self.0.shell(&ask).ok()?.ok().ok()?).ok()?;
        said["leader"].as_str().map(str::to_owned)
    }
}

#[test]
fn of_two_instances_one_leads_and_what_was_asked_for_survives_its_death() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    site.apply(include_str!("../../../../deploy/kubernetes/leister.yaml"))?;
    site.apply(include_str!("../../../../deploy/kubernetes/store.yaml"))?;
    site.config_of("records", ACCOUNT)?;
    site.array_up()?;
    fs::write(site.path("array.yaml"), array_backend("ontap-nas", "array", "t_", ""))?;
    let both = Instances(site.clone());
    both.start("one")?;
    both.until("the backend", || {
        both.ask("one", &["get", "backends"]).ok().filter(|said| said.contains("online"))
    })?;
    both.start("two")?;
    both.until("one to lead", || both.leader("two").filter(|leader| leader == "one"))?;
    both.ask("two", &["create", "volume", "first", "--size", "32MiB"])?;
    both.ask("two", &["snapshot", "first", "s"])?;
    let shown = site.kubectl(&["-n", NAMESPACE, "get", "volumes.leister.io"])?.ok()?;
    println!("{shown}");
    ensure!(shown.contains("first") && shown.contains("array") && shown.contains("BACKEND"), "{shown}");
    let shown = site.kubectl(&["-n", NAMESPACE, "get", "snapshots.leister.io,nodes.leister.io"])?.ok()?;
    ensure!(shown.contains("one") && shown.contains("two") && shown.contains("first"), "{shown}");

    // Two of one name would each mount what the other has for itself.
    let config = format!("--kubeconfig={}", site.path("records.kubeconfig").display());
    let state = format!("--state-dir={}", site.path("second.state").display());
    let words = ["run", "--store=kubernetes", "--listen=none", "--node=one", &config, &state];
    let said = site.leister(&[&words[..], &["--namespace", NAMESPACE]].concat())?.refused()?;
    println!("{said}");
    ensure!(said.contains("another instance that runs is the node `one` already"), "{said}");

    // It dies while volumes are made for the other one.
    std::thread::scope(|scope| -> Result<()> {
        let creates: Vec<_> = (0..MANY)
            .map(|number| {
                let both = &both;
                let name = format!("v{number:02}");
                scope.spawn(move || both.ask("two", &["create", "volume", &name, "--size", "32MiB"]))
            })
            .collect();
        both.until("some to be made", || both.volumes("two").filter(|volumes| volumes.len() > 2))?;
        site.kill("one")?;
        let died = Instant::now();
        both.until("two to lead", || both.leader("two").filter(|leader| leader == "two"))?;
        println!("takeover after kill -9: {:.1?}", died.elapsed());
        for create in creates {
            create.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })?;
    let volumes = both.volumes("two").context("it answers")?;
    ensure!(volumes.len() == MANY + 1, "{volumes:?}");
    let made = site.array("storage/volumes?name=t_*")?;
    ensure!(made["num_records"] == MANY + 1, "nothing is lost, nothing is there twice: {made}");

    // It comes back with its name, and follows; an orderly end passes the lead on at once.
    site.start_again("one")?;
    both.until("one to follow", || both.volumes("one").filter(|volumes| volumes.len() == MANY + 1))?;
    ensure!(both.leader("one").as_deref() == Some("two"));
    let started = Instant::now();
    site.stop("two")?;
    both.until("one to lead again", || both.leader("one").filter(|leader| leader == "one"))?;
    println!("takeover after an orderly end: {:.1?}", started.elapsed());
    both.ask("one", &["delete", "volume", "first", "--snapshots"])?;
    for number in 0..MANY {
        both.ask("one", &["delete", "volume", &format!("v{number:02}")])?;
    }
    for resource in ["volumes", "snapshots", "commits"] {
        let left =
            site.kubectl(&["-n", NAMESPACE, "get", &format!("{resource}.leister.io"), "-o", "name"])?.ok()?;
        ensure!(left.is_empty(), "{left}");
    }
    // The array is also others'.
    site.stop("one")
}

#[test]
fn a_cluster_that_knows_nothing_of_us_is_refused_with_the_way_out() -> Result<()> {
    needs_the_machine!();
    let site = Site::shared()?;
    let file = |name: &str| site.path(name).display().to_string();
    let admin = file("admin.kubeconfig");
    let said = site.refused(&["--kubeconfig", &admin, "--pool", "/x"])?;
    ensure!(said.contains("--pool"), "{said}");
    let said = site.refused(&["--kubeconfig", "/nowhere"])?;
    ensure!(said.contains("/nowhere") && said.contains("cannot be read"), "{said}");
    let said = site.refused(&[])?;
    ensure!(said.contains("--kubeconfig"), "{said}");
    // It was asked before anybody had told the cluster.
    let said = &site.refusal;
    ensure!(said.contains("volumes.leister.io") && said.contains("leister crds"), "{said}");
    Ok(())
}
