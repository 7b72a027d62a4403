//! Short words for what a cluster's users do with claims and pods.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;
use crate::pod::claim;
use docker_suite::until;

const LIMIT: Duration = Duration::from_secs(180);
const EVENTS: &str = "jsonpath={range .items[*]}{.reason}: {.message}{\"\\n\"}{end}";

impl Cluster {
    /// A claim of 64 MiB in the class `leister`, unless more lines of its spec say otherwise.
    ///
    /// # Errors
    /// It is refused.
    pub fn claim(&self, name: &str, more: &str) -> Result<()> {
        self.apply(&claim(name, more))
    }

    /// # Errors
    /// The claim is not bound in time.
    pub fn bound(&self, claim: &str) -> Result<Duration> {
        self.wait(&format!("pvc/{claim}"), "jsonpath={.status.phase}=Bound")
    }

    /// # Errors
    /// The pod is not ready in time.
    pub fn ready(&self, pod: &str) -> Result<Duration> {
        self.wait(&format!("pod/{pod}"), "condition=Ready")
    }

    /// What a command says inside of a pod.
    ///
    /// # Errors
    /// It fails, or the pod does not run.
    pub fn exec(&self, pod: &str, script: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script])?.ok()
    }

    /// # Errors
    /// Something of it is there still at the limit.
    pub fn delete(&self, what: &[&str]) -> Result<()> {
        let words = [&["delete", "--wait=true", "--timeout=120s"], what].concat();
        self.kubectl(&words)?.ok().with_context(|| self.evidence()).map(drop)
    }

    /// The PV behind a claim, and so the volume.
    ///
    /// # Errors
    /// The claim is not there, or not bound.
    pub fn volume(&self, claim: &str) -> Result<String> {
        let found = self.get(&format!("pvc/{claim}"))?;
        Ok(found["spec"]["volumeName"].as_str().context("the claim has no volume")?.to_owned())
    }

    /// Waits for an event of an object with these words in its reason or message, and tells it.
    ///
    /// # Errors
    /// There is none at the limit.
    pub fn event(&self, object: &str, wanted: &str) -> Result<String> {
        let field = format!("--field-selector=involvedObject.name={object}");
        let mut last = String::new();
        let seen = until(&format!("an event of {object} with `{wanted}`"), LIMIT, || {
            last = self.kubectl(&["get", "events", &field, "-o", EVENTS]).ok()?.ok().ok()?;
            last.lines().find(|line| line.contains(wanted)).map(str::to_owned)
        });
        seen.with_context(|| format!("there are: {last}\n{}", self.evidence()))
    }
}
