use serde::{Deserialize, Serialize};

use super::quotas::Rule;
use super::{ByUuid, Named, Reference};
use crate::client::{Client, Result};

/// A tree of files in a volume, with rights of its own.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Qtree {
    id: u64,
    pub(crate) name: String,
    pub(crate) volume: Reference,
    /// Where clients see it.
    path: Option<String>,
    export_policy: Option<Named>,
    /// Its size; the array keeps it elsewhere.
    #[serde(skip)]
    pub(crate) rule: Option<Rule>,
}

#[derive(Debug, Serialize)]
pub(crate) struct NewQtree {
    pub(crate) name: String,
    pub(crate) svm: Named,
    pub(crate) volume: ByUuid,
    pub(crate) export_policy: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) security_style: Option<&'static str>,
    pub(crate) unix_permissions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) qos_policy: Option<Named>,
}

#[derive(Debug, Serialize)]
struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    export_policy: Named,
}

/// What can be changed of a qtree in use.
#[derive(Debug, Default, Serialize)]
pub(crate) struct NewTerms {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unix_permissions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) qos_policy: Option<Named>,
}

const PATH: &str = "storage/qtrees";
const FIELDS: &str = "id,name,volume.name,volume.uuid,path,export_policy.name";

/// Those that fit the query, in pages.
pub(crate) async fn list(client: &Client, svm: &str, query: &[(&str, &str)]) -> Result<Vec<Qtree>> {
    let all = [&[("svm.name", svm), ("fields", FIELDS)], query].concat();
    client.list(PATH, &all).await
}

pub(crate) async fn create(client: &Client, qtree: &NewQtree) -> Result<()> {
    client.post(PATH, qtree).await
}

/// Gives it another policy and, where it is to have one, another name.
pub(crate) async fn change(client: &Client, qtree: &Qtree, name: Option<String>, policy: &str) -> Result<()> {
    let change = Change { name, export_policy: Named::new(policy) };
    client.patch(&path(qtree), &[], &change).await.map(drop)
}

pub(crate) async fn modify(client: &Client, qtree: &Qtree, terms: &NewTerms) -> Result<()> {
    client.patch(&path(qtree), &[], terms).await.map(drop)
}

pub(crate) async fn delete(client: &Client, qtree: &Qtree) -> Result<()> {
    client.delete(&path(qtree), &[]).await.map(drop)
}

fn path(qtree: &Qtree) -> String {
    format!("{PATH}/{}/{}", qtree.volume.uuid, qtree.id)
}

impl Qtree {
    pub(crate) fn policy(&self) -> Option<&str> {
        Some(&self.export_policy.as_ref()?.name)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.rule.as_ref().map_or(0, Rule::limit)
    }

    pub(crate) fn path(&self) -> String {
        self.path.clone().unwrap_or_else(|| format!("/{}/{}", self.volume.name, self.name))
    }
}
