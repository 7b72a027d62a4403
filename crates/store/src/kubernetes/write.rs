//! One change of one record.

use std::collections::HashMap;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::client::{Call, Failed, PATIENCE, PAUSE};
use super::object::{Content, Object, name_of};
use super::policy::is_late;
use super::sealed::Sealed;
use super::{Definition, GROUP, Inner};
use crate::{Fence, Key, Revision, StoreError, Write};

/// All that a commit does to one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fold {
    pub(super) key: Key,
    pub(super) expected: Option<Revision>,
    pub(super) value: Option<Content>,
}

/// Who writes, and with which word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    pub(super) fence: Fence,
    pub(super) token: &'a str,
}

/// Of which resource's change the watchers have to be told.
pub(super) type Told = Vec<(&'static str, u64)>;

const OPERATION: &str = "commit";
/// Times that a write is tried which has no answer, or meets an object that was only touched.
const ATTEMPTS: usize = 6;

/// The first expectation and the last content for each record.
///
/// # Errors
/// A write that does not expect what one before it in the commit has left.
pub(super) fn fold(writes: Vec<Write>) -> Result<Vec<Fold>, StoreError> {
    let mut at = HashMap::<Key, usize>::new();
    let mut folds = Vec::<Fold>::new();
    for Write { key, expected, value } in writes {
        let value = value.as_deref().map(Content::of);
        let Some(&before) = at.get(&key) else {
            at.insert(key.clone(), folds.len());
            folds.push(Fold { key, expected, value });
            continue;
        };
        if folds[before].value.is_some() || expected.is_some() {
            return Err(StoreError::Conflict { key, expected, found: None });
        }
        folds[before].value = value;
    }
    Ok(folds)
}

impl Fold {
    /// The Secret that it names is there for one object alone.
    pub(super) fn is_sealed(&self) -> bool {
        self.value.as_ref().is_some_and(|content| content.secret.is_some())
    }
}

impl Inner {
    /// Commits one write.
    pub(super) async fn one(&self, fence: Fence, fold: Fold) -> Result<(Revision, Told), StoreError> {
        let at = fold.expected.map(|revision| revision.0);
        if at.is_none() && fold.value.is_none() {
            return match self.found(&fold).await? {
                Some(object) => Err(self.conflict(&fold, Some(&object))),
                None => Ok((Revision(self.latest().await?), Vec::new())),
            };
        }
        let Sealed { fold, at, former } = self.seal(fence, fold, at).await?;
        let done = self.write(fence, &fold, at).await?;
        self.drop_secret(former).await;
        Ok(done)
    }

    async fn write(
        &self,
        fence: Fence,
        fold: &Fold,
        mut at: Option<u64>,
    ) -> Result<(Revision, Told), StoreError> {
        let resource = self.resource(fold);
        let token = self.token();
        let stamp = Stamp { fence, token: &token };
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let left = self.ballot.left(&self.client, fence).await?;
            match self.send(fold, at, stamp, left.min(PATIENCE)).await {
                Ok(version) => {
                    if fold.value.is_none() {
                        self.remove(resource, &name_of(&fold.key.id), version).await;
                    }
                    return Ok((Revision(version), vec![(resource, version)]));
                }
                Err(failed) if is_late(&failed) => return Err(self.ballot.fenced(&self.client, fence).await),
                Err(Failed::Refused { code: 404 | 409, .. }) => {}
                Err(failed) if failed.is_passing() => {
                    last = Some(failed.into_error(OPERATION));
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failed) => return Err(failed.into_error(OPERATION)),
            }
            // What is there now: our own work, another's, or the same touched by somebody.
            let found = match self.look(resource, &name_of(&fold.key.id)).await {
                Ok(found) => found,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            match &found {
                Some(object) if object.is_by(&token) => {
                    let version = object.version();
                    return Ok((Revision(version), vec![(resource, version)]));
                }
                Some(object) if object.gone && fold.expected.is_none() => at = Some(object.version()),
                Some(object) if !object.gone && Some(self.own.revision(object)) == fold.expected => {
                    at = Some(object.version());
                }
                None if fold.expected.is_none() && !fold.is_sealed() => at = None,
                // Marked by us, the answer lost, and removed by whoever lists.
                None if fold.value.is_none() && last.is_some() => {
                    return Ok((Revision(self.revision_of(resource).await?), Vec::new()));
                }
                other => return Err(self.conflict(fold, other.as_ref().filter(|object| !object.gone))),
            }
        }
        Err(last.unwrap_or_else(|| StoreError::Unavailable {
            operation: OPERATION,
            source: format!("{} changes all the time", fold.key).into(),
        }))
    }

    /// Sends a write; gives the version of the object then.
    pub(super) async fn send(
        &self,
        fold: &Fold,
        at: Option<u64>,
        stamp: Stamp<'_>,
        limit: Duration,
    ) -> Result<u64, Failed> {
        let name = name_of(&fold.key.id);
        let Some(definition) = self.definition(fold.key.kind) else {
            return Err(Failed::Lost(format!("no resource for {}", fold.key).into()));
        };
        let of_it = format!("{}/{name}", definition.plural);
        let (method, resource, body) = match at {
            None => (Method::POST, definition.plural, created(definition, &name, fold, stamp)),
            Some(at) => (Method::PATCH, of_it.as_str(), changed(definition, fold, at, stamp)),
        };
        let call = Call { body: Some(&body), limit, ..Call::of(OPERATION, method, resource) };
        let object: Object = self.client.once(&call).await?;
        Ok(object.version())
    }

    /// Removes an object that is marked as gone, unless it has changed since.
    pub(super) async fn remove(&self, resource: &str, name: &str, version: u64) {
        let body = json!({ "preconditions": { "resourceVersion": version.to_string() } });
        let resource = format!("{resource}/{name}");
        let call = Call { body: Some(&body), ..Call::of(OPERATION, Method::DELETE, &resource) };
        if let Err(failed) = self.client.once::<Value>(&call).await {
            tracing::debug!(resource, error = %failed.into_error(OPERATION), "what is gone is removed later");
        }
    }

    /// Removes what somebody had no time to, if this process leads.
    pub(super) async fn sweep(&self, resource: &str, object: &Object) {
        if self.ballot.fence().is_some() {
            self.remove(resource, &object.metadata.name, object.version()).await;
        }
    }

    /// The object of a record, unless that is gone.
    pub(super) async fn found(&self, fold: &Fold) -> Result<Option<Object>, StoreError> {
        let found = self.look(self.resource(fold), &name_of(&fold.key.id)).await?;
        Ok(found.filter(|object| !object.gone))
    }

    pub(super) fn conflict(&self, fold: &Fold, found: Option<&Object>) -> StoreError {
        let found = found.map(|object| self.own.revision(object));
        StoreError::Conflict { key: fold.key.clone(), expected: fold.expected, found }
    }

    pub(super) fn resource(&self, fold: &Fold) -> &'static str {
        self.definition(fold.key.kind).map_or("", |definition| definition.plural)
    }
}

/// Without content it is gone from the beginning, and has never been a record.
pub(super) fn created(definition: &Definition, name: &str, fold: &Fold, stamp: Stamp<'_>) -> Value {
    let content = fold.value.clone().unwrap_or_default();
    let mut body = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": definition.name, "metadata": { "name": name },
        "spec": content.view(definition.is_private), "record": content, "written": written(stamp),
        "gone": fold.value.is_none(),
    });
    if *fold.key.id != *name {
        body["id"] = json!(fold.key.id);
    }
    body
}

/// Replaces what is ours of an object, and nothing else: labels and annotations are people's.
fn changed(definition: &Definition, fold: &Fold, at: u64, stamp: Stamp<'_>) -> Value {
    let is_gone = fold.value.is_none();
    let mut patch = vec![
        // Another version is a conflict.
        json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": at.to_string() }),
        json!({ "op": "add", "path": "/written", "value": written(stamp) }),
        json!({ "op": "add", "path": "/gone", "value": is_gone }),
    ];
    let content = fold.value.clone().unwrap_or_else(|| Content::of(b""));
    patch.push(json!({ "op": "add", "path": "/spec", "value": content.view(definition.is_private) }));
    patch.push(json!({ "op": "add", "path": "/record", "value": content }));
    Value::Array(patch)
}

fn written(stamp: Stamp<'_>) -> Value {
    json!({ "fence": stamp.fence.0, "token": stamp.token })
}
