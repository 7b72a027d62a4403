use serde::{Deserialize, Serialize};

use super::{ByUuid, Named, Reference};
use crate::client::{Client, Result};

/// How much a qtree may hold.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Rule {
    pub(crate) uuid: String,
    pub(crate) volume: Reference,
    qtree: Option<OfQtree>,
    space: Option<Space>,
}

#[derive(Clone, Debug, Deserialize)]
struct OfQtree {
    #[serde(default)]
    name: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Space {
    hard_limit: Option<i64>,
}

#[derive(Debug, Serialize)]
struct NewRule {
    svm: Named,
    volume: ByUuid,
    #[serde(rename = "type")]
    kind: &'static str,
    qtree: Named,
    space: Space,
}

#[derive(Debug, Serialize)]
struct Change {
    space: Space,
}

const PATH: &str = "storage/quota/rules";

/// Rules for qtrees that fit the query, in pages.
pub(crate) async fn list(client: &Client, svm: &str, query: &[(&str, &str)]) -> Result<Vec<Rule>> {
    let fields = "uuid,volume.name,volume.uuid,qtree.name,space.hard_limit";
    let all = [&[("type", "tree"), ("svm.name", svm), ("fields", fields)], query].concat();
    client.list(PATH, &all).await
}

/// A rule for one qtree or, without a name, for all of a volume; a limit of -1 is none.
pub(crate) async fn create(client: &Client, svm: &str, volume: &str, qtree: &str, limit: i64) -> Result<()> {
    let rule = NewRule {
        svm: Named::new(svm),
        volume: ByUuid::new(volume),
        kind: "tree",
        qtree: Named::new(qtree),
        space: Space { hard_limit: Some(limit) },
    };
    client.post(PATH, &rule).await
}

pub(crate) async fn set(client: &Client, rule: &str, limit: i64) -> Result<()> {
    let change = Change { space: Space { hard_limit: Some(limit) } };
    client.patch(&format!("{PATH}/{rule}"), &[], &change).await.map(drop)
}

impl Rule {
    pub(crate) fn qtree(&self) -> &str {
        self.qtree.as_ref().map_or("", |qtree| &qtree.name)
    }

    /// Whether it is for all qtrees that have none of their own.
    pub(crate) fn is_default(&self) -> bool {
        self.qtree().is_empty()
    }

    pub(crate) fn limit(&self) -> u64 {
        let limit = self.space.as_ref().and_then(|space| space.hard_limit);
        limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0)
    }
}
