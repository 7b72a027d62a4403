//! CSI's sidecars, which speak to Leister.

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;

/// Whose rights they have, by `deploy/kubernetes/leister.yaml`.
pub const SIDECARS_ACCOUNT: (&str, &str) = ("leister", "leister-sidecars");

/// What csi-provisioner is told besides where the scheduler is to look for room; it looks each minute otherwise.
pub const CAPACITY: [&str; 3] =
    ["--enable-capacity", "--capacity-ownerref-level=-1", "--capacity-poll-interval=2s"];
/// What all are told besides where Leister is: to ask again sooner than they usually do, and as often as in the chart.
pub const PACE: [&str; 5] = [
    "--timeout=60s",
    "--retry-interval-start=250ms",
    "--retry-interval-max=4s",
    "--kube-api-qps=50",
    "--kube-api-burst=100",
];
/// Runs a program again and again: the first word is the program. What it tells of room is in the namespace.
const AGAIN: &str = r#"export NAMESPACE=leister; while :; do "$0" "$@" || :; sleep 0.2; done"#;
const INSTALLED: &str = include_str!("../../../deploy/kubernetes/install.yaml");

impl Cluster {
    /// Lets the scheduler look for room, which a csi-provisioner with [`CAPACITY`] tells.
    ///
    /// # Errors
    /// It is refused.
    pub fn look_for_room(&self) -> Result<()> {
        self.apply(include_str!("../../../deploy/kubernetes/capacity.yaml"))?;
        let patch = r#"{"spec":{"storageCapacity":true}}"#;
        self.kubectl(&["patch", "csidriver", "csi.leister.io", "-p", patch])?.ok().map(drop)
    }

    /// Starts a sidecar of CSI that speaks to Leister, with the rights of a service account. It ends whenever Leister
    /// does, and is started again, as a kubelet would.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve_sidecar(&self, name: &str, account: (&str, &str), words: &[&str]) -> Result<()> {
        self.serve_sidecar_as(name, name, account, words)
    }

    /// The same under a name of its own, for who has two of a kind.
    fn serve_sidecar_as(
        &self,
        name: &str,
        sidecar: &str,
        account: (&str, &str),
        words: &[&str],
    ) -> Result<()> {
        let kubeconfig = self.config_of(name, account)?;
        let program = self.programs().path(sidecar).display().to_string();
        let mut all = vec!["-c".into(), AGAIN.into(), program];
        all.push(format!("--kubeconfig={}", kubeconfig.display()));
        all.extend(words.iter().map(|word| (*word).to_owned()));
        self.serve_program(name, "/bin/sh".into(), all)
    }

    /// Starts a sidecar as the chart has it, on a socket of Leister's.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve_installed_sidecar(&self, sidecar: &str, socket: &str) -> Result<()> {
        self.serve_installed_sidecar_as(sidecar, sidecar, socket)
    }

    pub(crate) fn serve_installed_sidecar_as(&self, name: &str, sidecar: &str, socket: &str) -> Result<()> {
        let words = words(sidecar, socket)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.serve_sidecar_as(name, sidecar, SIDECARS_ACCOUNT, &words)
    }
}

/// With which words the chart starts a sidecar, but for the lease, which only several of them need.
fn words(sidecar: &str, socket: &str) -> Result<Vec<String>> {
    let (_, container) = INSTALLED.split_once(&format!("- name: {sidecar}\n")).context("no such sidecar")?;
    let (_, words) = container.split_once("args:\n").context("it has no words")?;
    let words = words.lines().map_while(|line| line.trim().strip_prefix("- --"));
    let ours = words.filter(|word| !word.starts_with("csi-address") && !word.starts_with("leader-election"));
    Ok(ours.map(|word| format!("--{word}")).chain([format!("--csi-address={socket}")]).collect())
}
