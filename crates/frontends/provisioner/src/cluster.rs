//! The cluster as one node: a PV has no moment at which one of the cluster's nodes asks for the volume, so that all of
//! them may reach it from its first moment to its last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use model::{NodeIdentity, NodeName};
use tokio::time::Instant;

use crate::names::{ADDRESSES, INITIATOR};

/// What the cluster's nodes are known by on arrays.
#[derive(Debug)]
pub(crate) struct Cluster {
    name: NodeName,
    /// Those of nodes that are gone, until when they stay: a node that somebody deletes by mistake comes back with its
    /// pods still writing.
    leaving: BTreeMap<Mark, Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Address(IpAddr),
    Initiator(String),
}

const STAY: Duration = Duration::from_secs(300);

impl Cluster {
    /// `known` is what it had in our life before this one.
    pub(crate) fn new(name: NodeName, known: Option<&NodeIdentity>, now: Instant) -> Cluster {
        let marks = known.into_iter().flat_map(|known| {
            let addresses = known.addresses.iter().copied().map(Mark::Address);
            let initiators = known.initiators().into_iter().map(|name| Mark::Initiator(name.to_owned()));
            addresses.chain(initiators).collect::<Vec<_>>()
        });
        Cluster { name, leaving: marks.map(|mark| (mark, now + STAY)).collect() }
    }

    /// Who may reach volumes now.
    pub(crate) fn identity(&mut self, nodes: &[Arc<Node>], now: Instant) -> NodeIdentity {
        self.leaving.retain(|_, until| *until > now);
        for node in nodes {
            let initiator =
                node.annotations().get(INITIATOR).map(|name| Mark::Initiator(name.trim().to_owned()));
            for mark in addresses(node).into_iter().map(Mark::Address).chain(initiator) {
                self.leaving.insert(mark, now + STAY);
            }
        }
        let mut identity = NodeIdentity::named(self.name.clone());
        let mut initiators = Vec::new();
        for mark in self.leaving.keys() {
            match mark {
                Mark::Address(address) => identity.addresses.push(*address),
                Mark::Initiator(name) => initiators.push(name.clone()),
            }
        }
        let mut initiators = initiators.into_iter();
        identity.initiator = initiators.next();
        identity.other_initiators = initiators.collect();
        identity
    }

    /// When it has to be asked again though nothing has changed.
    pub(crate) fn period() -> Duration {
        STAY / 5
    }
}

/// Where a node reaches storage from: what its annotation says, or its own addresses in the cluster.
fn addresses(node: &Node) -> Vec<IpAddr> {
    if let Some(text) = node.annotations().get(ADDRESSES) {
        let parse = |word: &str| {
            let parsed = word.trim().parse();
            parsed
                .inspect_err(|_| {
                    tracing::warn!(
                        node = node.name_any(),
                        "annotation {ADDRESSES}: `{word}` is no address; write them as in 192.0.2.7,192.0.2.8"
                    );
                })
                .ok()
        };
        return text.split(',').filter_map(parse).collect();
    }
    let listed = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let internal = listed.into_iter().flatten().filter(|address| address.type_ == "InternalIP");
    internal.filter_map(|address| address.address.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(addresses: &[&str], annotations: Value) -> Arc<Node> {
        let addresses: Vec<Value> =
            addresses.iter().map(|address| json!({ "type": "InternalIP", "address": address })).collect();
        let mut status = json!({ "addresses": addresses });
        status["addresses"].as_array_mut().unwrap().push(json!({ "type": "Hostname", "address": "n" }));
        let node = json!({ "metadata": { "name": "n", "annotations": annotations }, "status": status });
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn texts(identity: &NodeIdentity) -> Vec<String> {
        identity.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_nodes_reach_volumes_and_one_that_is_gone_a_while_longer() {
        let start = Instant::now();
        let name = NodeName::new("kubernetes").unwrap();
        let known = NodeIdentity {
            addresses: vec!["192.0.2.9".parse().unwrap()],
            ..NodeIdentity::named(name.clone())
        };
        let mut cluster = Cluster::new(name, Some(&known), start);
        let both = [node(&["192.0.2.1", "2001:db8::1"], json!({})), node(&["192.0.2.2"], json!({}))];
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.9", "2001:db8::1"];
        assert_eq!(texts(&cluster.identity(&both, start)), all);
        assert_eq!(texts(&cluster.identity(&both[..1], start)), all);
        let later = start + STAY;
        assert_eq!(texts(&cluster.identity(&both[..1], later)), ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn a_node_says_where_it_reaches_storage_from() {
        let mut cluster = Cluster::new(NodeName::new("kubernetes").unwrap(), None, Instant::now());
        let annotated = node(
            &["192.0.2.1"],
            json!({ ADDRESSES: "198.51.100.7, nonsense,198.51.100.8", INITIATOR: "iqn.2018-06.org.example:n" }),
        );
        let other = node(&["192.0.2.2"], json!({ INITIATOR: "iqn.2018-06.org.example:o" }));
        let identity = cluster.identity(&[annotated, other], Instant::now());
        assert_eq!(texts(&identity), ["192.0.2.2", "198.51.100.7", "198.51.100.8"]);
        assert_eq!(identity.initiators(), ["iqn.2018-06.org.example:n", "iqn.2018-06.org.example:o"]);
    }
}
