//! What the accounts of the chart may do, and what not.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::site::{NAMESPACE, Site};

/// So many rules; who adds one says here why the number grew.
const RULES: [(&str, usize); 5] = [
    ("clusterrole/leister-leister-sidecars", 13),
    ("role/leister-sidecars", 3),
    ("clusterrole/leister-leister-doctor", 3),
    ("role/leister-controller", 7),
    ("role/leister-node", 4),
];

/// Account, verb, resource, namespace, and whether it may.
const TABLE: [(&str, &str, &str, &str, bool); 28] = [
    ("node", "list", "volumes.leister.io", NAMESPACE, true),
    ("node", "create", "letters.leister.io", NAMESPACE, true),
    ("node", "patch", "volumes.leister.io", NAMESPACE, false),
    ("node", "create", "volumes.leister.io", NAMESPACE, false),
    ("node", "list", "backendrecords.leister.io", NAMESPACE, false),
    ("node", "patch", "letters.leister.io", NAMESPACE, false),
    ("node", "list", "volumes.leister.io", "default", false),
    ("node", "get", "secrets", NAMESPACE, false),
    ("node", "list", "pods", NAMESPACE, false),
    ("node", "get", "nodes", "", false),
    ("node", "list", "persistentvolumes", "", false),
    ("node", "patch", "volumeattachments", "", false),
    ("controller", "patch", "volumes.leister.io", NAMESPACE, true),
    ("controller", "create", "persistentvolumes", "", true),
    ("controller", "patch", "settings.leister.io", NAMESPACE, false),
    ("controller", "get", "secrets", NAMESPACE, true),
    // For backends that are made through the API: a password is a Secret's.
    ("controller", "create", "secrets", NAMESPACE, true),
    ("controller", "delete", "secrets", NAMESPACE, true),
    ("controller", "patch", "secrets", NAMESPACE, false),
    ("controller", "list", "secrets", NAMESPACE, false),
    ("controller", "get", "secrets", "default", false),
    ("controller", "create", "csistoragecapacities.storage.k8s.io", NAMESPACE, true),
    ("controller", "list", "csistoragecapacities.storage.k8s.io", "default", false),
    ("controller", "create", "secrets", "default", false),
    ("controller", "create", "pods", NAMESPACE, false),
    ("controller", "delete", "persistentvolumeclaims", "default", false),
    ("controller", "update", "nodes", "", false),
    ("controller", "get", "leases.coordination.k8s.io", "kube-system", false),
];

pub(crate) fn are_no_more_than_needed(site: &Site) -> Result<()> {
    for (role, count) in RULES {
        let words = ["-n", NAMESPACE, "get", role, "-o", "json"];
        let found: Value = serde_json::from_str(&site.kubectl(&words)?.ok()?)?;
        let rules = found["rules"].as_array().with_context(|| format!("{role} has no rules"))?;
        ensure!(rules.len() == count, "{role} has {} rules, not {count}", rules.len());
        let has_star = rules.iter().any(|rule| rule.to_string().contains('*'));
        ensure!(!has_star, "{role} allows more than it says: {found}");
    }
    for (account, verb, resource, namespace, may) in TABLE {
        let who = format!("--as=system:serviceaccount:{NAMESPACE}:leister-{account}");
        let mut words = vec!["auth", "can-i", verb, resource, &who];
        if !namespace.is_empty() {
            words.extend(["-n", namespace]);
        }
        let said = site.kubectl(&words)?;
        ensure!((said.out == "yes") == may, "{account}: {verb} {resource} in `{namespace}`: {said:?}");
    }
    Ok(())
}
