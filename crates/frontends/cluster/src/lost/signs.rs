//! What a node's object shows of its life.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt as _;
use tokio::time::Instant;

pub(super) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// The value of the marks that we make.
pub(super) const OURS: &str = "leister";

/// An annotation of a node whose volumes are being taken from it, until it is marked: the driver that does so.
pub(crate) const BEGUN: &str = "leister.io/fenced-by";

/// Since when each silent node, by its uid, has been so.
#[derive(Debug, Default)]
pub(super) struct Silence(HashMap<String, Instant>);

impl Silence {
    pub(super) fn note<'a>(&mut self, nodes: impl IntoIterator<Item = &'a Node>, now: Instant) {
        let silent: Vec<String> =
            nodes.into_iter().filter(|node| is_silent(node)).filter_map(|node| node.uid()).collect();
        self.0.retain(|uid, _| silent.contains(uid));
        for uid in silent {
            self.0.entry(uid).or_insert(now);
        }
    }

    pub(super) fn lasts(&self, node: &Node, long: Duration, now: Instant) -> bool {
        let since = node.uid().and_then(|uid| self.0.get(&uid).copied());
        since.is_some_and(|since| now.duration_since(since) >= long)
    }
}

/// Whether nothing has been heard of its kubelet. (One that says it is not ready is alive.)
pub(super) fn is_silent(node: &Node) -> bool {
    readiness(node) == Some("Unknown")
}

pub(super) fn is_ready(node: &Node) -> bool {
    readiness(node) == Some("True")
}

/// Whether a driver's volumes are being taken from it.
pub(crate) fn is_begun(node: &Node, driver: &str) -> bool {
    node.annotations().get(BEGUN).is_some_and(|by| by == driver)
}

/// By whomever.
pub(crate) fn is_marked(node: &Node) -> bool {
    mark(node).is_some()
}

pub(super) fn marked_by_us(node: &Node) -> bool {
    mark(node).is_some_and(|value| value == OURS)
}

pub(super) fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

fn mark(node: &Node) -> Option<&str> {
    let mark = taints(node).find(|taint| taint.key == OUT_OF_SERVICE)?;
    Some(mark.value.as_deref().unwrap_or_default())
}

fn readiness(node: &Node) -> Option<&str> {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == "Ready").map(|condition| condition.status.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

    use serde_json::json;

    use super::*;

    fn node(ready: &str, mark: Option<&str>) -> Node {
        let taints: Vec<_> = mark
            .iter()
            .map(|mark| json!({"key": OUT_OF_SERVICE, "value": mark, "effect": "NoExecute"}))
            .collect();
        serde_json::from_value(json!({
            "metadata": { "name": "one", "uid": "1" },
            "spec": { "taints": taints },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    #[test]
    fn a_node_is_lost_only_after_it_was_silent_without_a_break() {
        let (mut silence, long, begin) = (Silence::default(), Duration::from_secs(60), Instant::now());
        let (silent, ready) = (node("Unknown", None), node("True", None));
        let at = |seconds| begin + Duration::from_secs(seconds);
        silence.note([&silent], at(0));
        silence.note([&silent], at(59));
        assert!(!silence.lasts(&silent, long, at(59)));
        assert!(silence.lasts(&silent, long, at(60)));
        silence.note([&ready], at(61));
        silence.note([&silent], at(62));
        assert!(!silence.lasts(&silent, long, at(100)), "it spoke in between");
        assert!(silence.lasts(&silent, long, at(122)));
        silence.note([], at(123));
        assert!(!silence.lasts(&silent, long, at(500)), "another of its name is another node");
    }

    #[test]
    fn a_node_that_says_it_is_not_ready_is_alive() {
        let mut silence = Silence::default();
        let troubled = node("False", None);
        silence.note([&troubled], Instant::now());
        assert!(!silence.lasts(&troubled, Duration::ZERO, Instant::now()));
        assert!(!is_ready(&troubled));
    }

    #[test]
    fn what_another_driver_has_begun_is_its_own() {
        let mut taken = node("Unknown", None);
        assert!(!is_begun(&taken, "csi.leister.io"));
        taken.annotations_mut().insert(BEGUN.to_owned(), "csi.leister.io".to_owned());
        assert!(is_begun(&taken, "csi.leister.io") && !is_begun(&taken, "other.leister.io"));
    }

    #[test]
    fn a_mark_of_somebody_else_is_not_ours() {
        let [none, theirs, ours] = [None, Some("nodeshutdown"), Some(OURS)].map(|mark| node("True", mark));
        assert!(!is_marked(&none) && is_marked(&theirs) && is_marked(&ours));
        assert!(!marked_by_us(&none) && !marked_by_us(&theirs) && marked_by_us(&ours));
    }
}
