//! Peers: SVMs that may mirror to one another, and clusters.

use serde_json::{Value, json};

use crate::record::{merge, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, reference};

pub(crate) static SVM_PEERS: Resource = Resource {
    path: "svm/peers",
    table: "svm_peers",
    schema: "svm_peer",
    shown: &["name", "svm", "peer"],
    jobs: true,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static CLUSTER_PEERS: Resource = Resource {
    path: "cluster/peers",
    table: "cluster_peers",
    schema: "cluster_peer",
    svm: None,
    ..Resource::PLAIN
};

/// Peers two SVMs of this cluster; each of them has its own side of it.
fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let name = text(&body, "peer.svm.name").ok_or_else(|| refusal::missing("peer.svm.name"))?;
    let found = change.state.find_by("svms", "name", name).map(|(_, own)| reference(own));
    let other = found.ok_or_else(|| {
        Refusal::new(400, 2_621_462, format!("SVM \"{name}\" does not exist.")).at("peer.svm.name")
    })?;
    let same =
        |own: &&Value| own["svm"]["uuid"] == svm["uuid"] && own["peer"]["svm"]["uuid"] == other["uuid"];
    if change.state.list("svm_peers").any(|own| same(&own)) {
        return Err(Refusal::new(409, 26_345_576, "The SVM peer relationship exists.").at("peer.svm.name"));
    }
    let cluster = change.state.list("cluster").next().map(reference).unwrap_or_default();
    let applications =
        if body["applications"].is_array() { body["applications"].clone() } else { json!(["snapmirror"]) };
    let uuid = change.new_uuid();
    let other_uuid = change.new_uuid();
    for (uuid, from, to) in [(&uuid, &svm, &other), (&other_uuid, &other, &svm)] {
        let peer = json!({
            "uuid": uuid, "name": to["name"], "svm": from, "state": "peered", "applications": applications,
            "peer": {"svm": to, "cluster": cluster},
        });
        change.state.put("svm_peers", uuid, peer);
    }
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    change.state.change("svm_peers", key, |peer| merge(peer, body));
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    let peer = change.state.find("svm_peers", key).cloned().unwrap_or_default();
    let used = change.state.list("snapmirror_relationships").any(|own| {
        let pair = (&own["source"]["svm"]["uuid"], &own["destination"]["svm"]["uuid"]);
        let (one, two) = (&peer["svm"]["uuid"], &peer["peer"]["svm"]["uuid"]);
        pair == (one, two) || pair == (two, one)
    });
    if used {
        return Err(Refusal::new(409, 26_345_573, "The SVM peer relationship is in use by SnapMirror."));
    }
    let mirror = |own: &Value| {
        own["svm"]["uuid"] == peer["peer"]["svm"]["uuid"] && own["peer"]["svm"]["uuid"] == peer["svm"]["uuid"]
    };
    let sides: Vec<String> = change
        .state
        .entries("svm_peers", "")
        .filter(|(own, record)| *own == key || mirror(record))
        .map(|(own, _)| own.to_owned())
        .collect();
    for side in sides {
        change.state.remove("svm_peers", &side);
    }
    Ok(())
}
