//! What service accounts have asked the apiserver for: its own account of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// One request that has been answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As roles have it: `get`, `list`, `watch`, `create`, `patch`, ….
    pub verb: String,
    /// As in `volumes.leister.io`, with a subresource behind a slash.
    pub resource: String,
    /// Empty where it was asked of many.
    pub name: String,
}

impl Asked {
    /// How many of each verb and resource.
    pub fn counted<'a>(all: impl IntoIterator<Item = &'a Asked>) -> BTreeMap<(String, String), usize> {
        let mut counts = BTreeMap::new();
        for asked in all {
            *counts.entry((asked.verb.clone(), asked.resource.clone())).or_default() += 1;
        }
        counts
    }
}

impl Cluster {
    /// Everything that a service account, namespace and name, was answered so far, in order.
    ///
    /// # Errors
    /// The account cannot be read.
    pub fn asked_by(&self, account: (&str, &str)) -> Result<Vec<Asked>> {
        let file = self.path(LOG);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let user = format!("system:serviceaccount:{}:{}", account.0, account.1);
        let mut all = Vec::new();
        for line in whole.lines() {
            let event: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            if event["user"]["username"] == *user {
                all.push(asked(&event));
            }
        }
        Ok(all)
    }
}

const LOG: &str = "audit.log";

/// What the apiserver of a cluster in this folder has to be told.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn words(folder: &Path) -> Result<[String; 2]> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            { "level": "Metadata", "userGroups": ["system:serviceaccounts"] },
            { "level": "None" },
        ],
    });
    let file = folder.join("audit.json");
    fs::write(&file, policy.to_string())?;
    let log = folder.join(LOG);
    Ok([format!("--audit-policy-file={}", file.display()), format!("--audit-log-path={}", log.display())])
}

fn asked(event: &Value) -> Asked {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let part = |key: &str, before: &str| match object[key].as_str() {
        Some(part) => format!("{before}{part}"),
        None => String::new(),
    };
    Asked {
        verb: word(&event["verb"]),
        resource: part("resource", "") + &part("apiGroup", ".") + &part("subresource", "/"),
        name: word(&object["name"]),
    }
}
