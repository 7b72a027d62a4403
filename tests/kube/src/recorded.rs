//! Leister as a cluster's controller, with its records in that cluster, over the simulated array.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::array::array_backend;
use crate::cluster::Cluster;
use docker_suite::until;

/// Whose rights it has, by `deploy/kubernetes/store.yaml`.
pub const RECORDED_ACCOUNT: (&str, &str) = ("leister", "leister-store");
/// What it and its provisioner are called among the cluster's programs, and the class of its volumes.
pub const RECORDED: &str = "recorded";

const CSI_NAME: &str = "recorded.leister.io";
const LIMIT: Duration = Duration::from_secs(120);
/// What a cluster is told of Leister and its records.
const MANIFESTS: [&str; 3] = [
    include_str!("../../../deploy/kubernetes/leister.yaml"),
    include_str!("../../../deploy/kubernetes/crds.yaml"),
    include_str!("../../../deploy/kubernetes/store.yaml"),
];

impl Cluster {
    /// Starts it, the array, and a csi-provisioner as the chart has it.
    ///
    /// # Errors
    /// What does not start.
    pub fn serve_recorded(&self) -> Result<()> {
        MANIFESTS.iter().try_for_each(|manifest| self.apply(manifest))?;
        for plural in ["volumes", "nodes", "commits", "letters", "settings"] {
            self.wait(&format!("crd/{plural}.leister.io"), "condition=Established")?;
        }
        self.apply(&format!(
            "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {RECORDED}}}\n\
             provisioner: {CSI_NAME}\n"
        ))?;
        self.serve_array()?;
        let file = |end: &str| self.path(&format!("{RECORDED}{end}")).display().to_string();
        fs::write(file(".yaml"), array_backend("ontap-nas", "array", "r_", ""))?;
        let kubeconfig = self.config_of(RECORDED, RECORDED_ACCOUNT)?;
        let (socket, api) = (file(".csi.sock"), file(".rest.sock"));
        self.serve_leister_as(
            RECORDED,
            &[
                "controller",
                "--store=kubernetes",
                "--listen=none",
                "--log-format=json",
                &format!("--kubeconfig={}", kubeconfig.display()),
                &format!("--namespace={}", RECORDED_ACCOUNT.0),
                &format!("--node={RECORDED}"),
                &format!("--csi-name={CSI_NAME}"),
                &format!("--csi-endpoint={socket}"),
                &format!("--config={}", file(".yaml")),
                &format!("--state-dir={}", file(".state")),
                &format!("--socket={api}"),
            ],
        )?;
        let server = format!("unix://{api}");
        let online = || {
            let said = self.leister(&["get", "backends", "--server", &server]).ok()?.ok().ok()?;
            said.contains("online").then_some(())
        };
        let served = until("the backend of the controller", LIMIT, online);
        served.with_context(|| self.log(RECORDED).unwrap_or_default())?;
        self.serve_installed_sidecar_as(&format!("{RECORDED}-provisioner"), "csi-provisioner", &socket)
    }
}
