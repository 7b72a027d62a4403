//! A machine of a rig as a node of a cluster.

use std::path::Path;

use anyhow::Result;
use filer_suite::{Node, NodeSpec};
use rig::{Guest, Limit, Rig};

use crate::cluster::{Cluster, kubeconfig};
use crate::recorded::RECORDED_ACCOUNT;
use crate::{containers, kubelet};

const LIMIT: Limit = Limit::from_secs(240);
/// Where a node has what it is told.
const FOLDER: &str = "/etc/kube";
/// What lasts over a loss of power lies on the node's own disk.
const DISK: &str = "/srv/node";
const SCRIPT: &str = include_str!("machine.sh");
/// The id of the instance that nodes and controllers are.
pub const INSTANCE: &str = "cluster";

/// Where the nodes are, all of them.
pub const PLACE: &str = "zone=east";

/// Where a Leister on it finds the cluster's records.
pub const RECORDS: &str = "--store kubernetes --namespace leister --kubeconfig /etc/kube/records.kubeconfig";

/// containerd, a kubelet, and `leister node` with the records in the cluster.
pub struct Machine<'a> {
    rig: &'a Rig,
    node: Node<'a>,
    spec: NodeSpec,
}

impl<'a> Machine<'a> {
    /// Lets a guest with one disk join a cluster that is on the rig's networks.
    ///
    /// # Errors
    /// What does not start.
    ///
    /// # Panics
    /// When something in the guest fails; the message has what it said.
    pub fn join(cluster: &Cluster, rig: &'a Rig, name: &str) -> Result<Self> {
        let mut spec = NodeSpec { verb: "node", ..NodeSpec::new(INSTANCE) };
        spec.arguments = format!(
            "--node {name} --topology {PLACE} --state-dir {DISK}/leister --listen none --kubelet-dir /var/lib/kubelet \
             --instance-id {INSTANCE} {RECORDS}"
        );
        serve(cluster, rig, name)?;
        let node = Node::over(rig, name, spec.clone(), &[])?;
        let machine = Self { rig, node, spec };
        machine.ready(cluster)?;
        Ok(machine)
    }

    /// Boots it again after a loss of power.
    ///
    /// # Errors
    /// As [`Machine::join`].
    ///
    /// # Panics
    /// As [`Machine::join`].
    pub fn come_back(&self, cluster: &Cluster) -> Result<()> {
        self.guest().start()?;
        serve(cluster, self.rig, self.name())?;
        Node::over(self.rig, self.name(), self.spec.clone(), &[])?;
        self.ready(cluster)
    }

    fn ready(&self, cluster: &Cluster) -> Result<()> {
        let name = self.name();
        // Of what is not there yet nothing else can be waited for.
        cluster.wait(&format!("node/{name}"), "create")?;
        cluster.wait(&format!("node/{name}"), "condition=Ready")?;
        cluster.wait(&format!("csinode/{name}"), "create")?;
        cluster.wait(&format!("csinode/{name}"), "jsonpath={.spec.drivers[0].name}=csi.leister.io").map(drop)
    }

    pub fn guest(&self) -> &'a Guest {
        self.node.guest()
    }

    pub fn name(&self) -> &'a str {
        self.guest().name()
    }

    /// Its Leister.
    pub fn leister(&self) -> &Node<'a> {
        &self.node
    }
}

/// Starts containerd and the kubelet.
fn serve(cluster: &Cluster, rig: &Rig, name: &str) -> Result<()> {
    let guest = rig.guest(name);
    let server = rig.address(0).to_string();
    let networks = format!("{FOLDER}/networks");
    guest.put(&format!("{networks}/10-none.conflist"), containers::NETWORK)?;
    let containers = containers::config(&Path::new(DISK).join("containerd"), Path::new(&networks));
    guest.put(&format!("{FOLDER}/containerd.toml"), containers)?;
    guest.put(&format!("{FOLDER}/images.tar"), std::fs::read(cluster.images())?)?;
    guest.put(&format!("{FOLDER}/kubelet.kubeconfig"), kubeconfig(&server, name, name))?;
    let records = kubeconfig(&server, "records", &cluster.token(RECORDED_ACCOUNT)?);
    guest.put(&format!("{FOLDER}/records.kubeconfig"), records)?;
    let config = kubelet::config("/", &Path::new(DISK).join("volume-plugins"));
    guest.put(&format!("{FOLDER}/kubelet.json"), config.to_string())?;
    let (kubelet, address) = (cluster.programs().path("kubelet"), guest.address(0));
    let script = format!("kubelet={} name={name} address={address}\n{SCRIPT}", kubelet.display());
    guest.exec_within(LIMIT, &script).ok("a node of a cluster");
    Ok(())
}
