use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Named;
use crate::client::{Client, Result};

/// An export policy with its rules.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Policy {
    pub(crate) id: u64,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Rule {
    pub(crate) index: u32,
    #[serde(default)]
    pub(crate) clients: Vec<Match>,
    #[serde(default)]
    pub(crate) protocols: Vec<String>,
    #[serde(default)]
    pub(crate) rw_rule: Vec<String>,
}

/// An address, a network, a host or a netgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Match {
    #[serde(rename = "match")]
    pub(crate) pattern: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct NewRule {
    pub(crate) clients: Vec<Match>,
    pub(crate) protocols: Vec<&'static str>,
    pub(crate) ro_rule: [&'static str; 1],
    pub(crate) rw_rule: [&'static str; 1],
    pub(crate) superuser: [&'static str; 1],
}

#[derive(Debug, Serialize)]
struct NewPolicy<'a> {
    name: &'a str,
    svm: Named,
    #[serde(skip_serializing_if = "<[NewRule]>::is_empty")]
    rules: &'a [NewRule],
}

const PATH: &str = "protocols/nfs/export-policies";
const FIELDS: &str = "name,id,rules.index,rules.clients,rules.protocols,rules.rw_rule";

pub(crate) async fn find(client: &Client, svm: &str, name: &str) -> Result<Option<Policy>> {
    client.find(PATH, &[("name", name), ("svm.name", svm), ("fields", FIELDS)]).await
}

/// Policies of a name pattern, with their rules, in pages.
pub(crate) async fn list(client: &Client, svm: &str, pattern: &str) -> Result<Vec<Policy>> {
    client.list(PATH, &[("name", pattern), ("svm.name", svm), ("fields", FIELDS)]).await
}

pub(crate) async fn create(client: &Client, svm: &str, name: &str, rules: &[NewRule]) -> Result<()> {
    client.post(PATH, &NewPolicy { name, svm: Named::new(svm), rules }).await
}

pub(crate) async fn delete(client: &Client, svm: &str, name: &str) -> Result<()> {
    client.delete(PATH, &[("name", name), ("svm.name", svm)]).await.map(drop)
}

pub(crate) async fn add_rule(client: &Client, policy: u64, rule: &NewRule) -> Result<()> {
    client.post(&format!("{PATH}/{policy}/rules"), rule).await
}

pub(crate) async fn delete_rule(client: &Client, policy: u64, index: u32) -> Result<()> {
    client.delete(&format!("{PATH}/{policy}/rules/{index}"), &[]).await.map(drop)
}

/// All versions of NFS, one by one.
const EACH: [&str; 2] = ["nfs3", "nfs4"];

impl Rule {
    pub(crate) fn is_exclusive(&self) -> bool {
        self.protocols.iter().any(|protocol| EACH.contains(&protocol.as_str()))
    }

    /// Whether it grants what the other asks for.
    pub(crate) fn is(&self, wanted: &NewRule) -> bool {
        let addresses =
            |clients: &[Match]| clients.iter().map(|c| c.pattern.clone()).collect::<BTreeSet<_>>();
        addresses(&self.clients) == addresses(&wanted.clients)
            && self.is_exclusive() == (wanted.protocols == EACH)
            && self.rw_rule.iter().any(|rule| rule == "never") == (wanted.rw_rule == ["never"])
    }
}

impl NewRule {
    /// Lets these addresses look a name up and no more; their root is nobody.
    pub(crate) fn to_pass(addresses: Vec<String>) -> NewRule {
        NewRule { superuser: ["none"], ..NewRule::for_addresses(addresses, true, false) }
    }

    /// Lets these addresses read, and write where they may; their root is the volume's root.
    ///
    /// A rule has no room for a remark. `nfs` means all versions; that these are written one by one says that the
    /// node has the volume alone.
    pub(crate) fn for_addresses(addresses: Vec<String>, read_only: bool, exclusive: bool) -> NewRule {
        NewRule {
            clients: addresses.into_iter().map(|pattern| Match { pattern }).collect(),
            protocols: if exclusive { EACH.to_vec() } else { vec!["nfs"] },
            ro_rule: ["sys"],
            rw_rule: [if read_only { "never" } else { "sys" }],
            superuser: ["sys"],
        }
    }
}
