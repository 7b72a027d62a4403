//! Commits of several writes: kept as one object first, with which they have happened, and then done one by one.

use futures::FutureExt;
use futures::future::try_join_all;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Call, Failed, PATIENCE, PAUSE, unusable};
use super::object::{Content, Metadata, Object, Written, name_of, number};
use super::policy::is_late;
use super::sealed::Sealed;
use super::write::{Fold, Stamp, Told};
use super::{COMMITS, GROUP, Inner};
use crate::{Fence, Key, Revision, StoreError};

#[derive(Clone, Debug, Deserialize)]
struct Intent {
    metadata: Metadata,
    writes: String,
    written: Written,
}

/// One write of it: what the object shall hold, and the version that it had.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Planned {
    kind: String,
    id: String,
    record: Option<Content>,
    at: Option<u64>,
}

const OPERATION: &str = "commit";
/// How many records are looked at at once.
const LOOKS: usize = 8;
const ATTEMPTS: usize = 6;

pub(super) fn object(name: &str, fence: u64, token: &str, writes: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Commit", "metadata": { "name": name },
        "writes": writes, "written": { "fence": fence, "token": token },
    })
}

impl Inner {
    /// Commits several writes. The caller sees to it that nobody reads or writes meanwhile.
    pub(super) async fn several(
        &self,
        fence: Fence,
        folds: Vec<Fold>,
    ) -> Result<(Revision, Told), StoreError> {
        let found = self.look_at_all(folds.iter()).await?;
        let (mut plan, mut formers) = (Vec::new(), Vec::new());
        for (fold, object) in folds.into_iter().zip(&found) {
            let there = object.as_ref().filter(|object| !object.gone);
            if there.map(|object| self.own.revision(object)) != fold.expected {
                return Err(self.conflict(&fold, there));
            }
            if there.is_some() || fold.value.is_some() {
                let Sealed { fold, at, former } =
                    self.seal(fence, fold, object.as_ref().map(Object::version)).await?;
                plan.push((fold, at));
                formers.push(former);
            }
        }
        if plan.is_empty() {
            return Ok((Revision(self.latest().await?), Vec::new()));
        }
        let token = self.token();
        let revision = self.decide(fence, &token, &plan).await?;
        self.own.remember(&token, revision);
        let told = self.carry_out(Stamp { fence, token: &token }, plan).await?;
        self.forget(&token).await;
        for former in formers {
            self.drop_secret(former).await;
        }
        Ok((Revision(revision), told))
    }

    /// Does what is left of all commits, in their order. The caller sees to it that nobody reads or writes meanwhile.
    pub(super) async fn finish(&self, fence: Fence) -> Result<(), StoreError> {
        let mut intents: Vec<Intent> = self.list(COMMITS).await?;
        intents.sort_by_key(|intent| number(&intent.metadata.resource_version));
        for intent in intents {
            let damaged = |problem: String| {
                unusable(
                    format!("commits/{}: {problem}", intent.metadata.name),
                    "start the version that wrote it, or remove it with kubectl, and with it changes that were promised",
                )
            };
            let writes: Vec<Planned> =
                serde_json::from_str(&intent.writes).map_err(|e| damaged(e.to_string()))?;
            let mut plan = Vec::new();
            for planned in writes {
                let definition = self.kinds.iter().find(|definition| definition.kind == planned.kind);
                let kind = definition
                    .ok_or_else(|| damaged(format!("no records of the kind `{}` are known", planned.kind)))?
                    .kind;
                let key = Key::new(kind, planned.id);
                plan.push((Fold { key, expected: None, value: planned.record }, planned.at));
            }
            let token = &intent.written.token;
            if !self.is_begun(token, &plan).await? {
                // Nobody was told that it has happened: its request came late, or somebody has touched its records.
                tracing::warn!(commit = intent.metadata.name, "a commit that nobody has begun is dropped");
                self.forget(token).await;
                continue;
            }
            tracing::info!(
                commit = intent.metadata.name,
                writes = plan.len(),
                "a commit was left half done; ending it"
            );
            self.own.remember(token, number(&intent.metadata.resource_version));
            self.carry_out(Stamp { fence, token }, plan).await?;
            self.forget(token).await;
        }
        self.unfinished.store(false, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    /// Whether its first record is as it shall be, or all are as they were.
    async fn is_begun(&self, token: &str, plan: &[(Fold, Option<u64>)]) -> Result<bool, StoreError> {
        let found = self.look_at_all(plan.iter().map(|(fold, _)| fold)).await?;
        let is_first_done = plan.first().zip(found.first()).is_some_and(|((fold, _), object)| match object {
            Some(object) => object.is_by(token),
            None => fold.value.is_none(),
        });
        let are_as_before =
            || plan.iter().zip(&found).all(|((_, at), object)| object.as_ref().map(Object::version) == *at);
        Ok(is_first_done || are_as_before())
    }

    /// Keeps the commit as an object: with that it has happened.
    async fn decide(
        &self,
        fence: Fence,
        token: &str,
        plan: &[(Fold, Option<u64>)],
    ) -> Result<u64, StoreError> {
        let planned = plan.iter().map(|(fold, at)| Planned {
            kind: fold.key.kind.to_owned(),
            id: fold.key.id.to_string(),
            record: fold.value.clone(),
            at: *at,
        });
        let writes = serde_json::to_string(&planned.collect::<Vec<_>>())
            .map_err(|e| StoreError::Unavailable { operation: OPERATION, source: e.into() })?;
        let body = object(&called(token), fence.0, token, &writes);
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let left = self.ballot.left(&self.client, fence).await?;
            let limit = left.min(PATIENCE);
            let call = Call { body: Some(&body), limit, ..Call::of(OPERATION, Method::POST, COMMITS) };
            match self.client.once::<Object>(&call).await {
                Ok(object) => return Ok(object.version()),
                Err(failed) if is_late(&failed) => return Err(self.ballot.fenced(&self.client, fence).await),
                // No other has its name: it was done, and the answer lost.
                Err(Failed::Refused { code: 409, .. }) => {
                    if let Some(object) = self.look(COMMITS, &called(token)).await? {
                        return Ok(object.version());
                    }
                }
                Err(failed) if failed.is_passing() => {
                    last = Some(failed.into_error(OPERATION));
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failed) => return Err(failed.into_error(OPERATION)),
            }
        }
        // It may have happened.
        self.unfinished.store(true, std::sync::atomic::Ordering::Release);
        Err(last.unwrap_or_else(|| unknown("it was there and is not")))
    }

    /// Brings each record to what was decided.
    async fn carry_out(&self, stamp: Stamp<'_>, plan: Vec<(Fold, Option<u64>)>) -> Result<Told, StoreError> {
        let mut told = Told::new();
        for (fold, at) in plan {
            let done = self.bring(stamp, &fold, at).await;
            let version = done.inspect_err(|_| {
                self.unfinished.store(true, std::sync::atomic::Ordering::Release);
            })?;
            let resource = self.resource(&fold);
            told.retain(|(other, _)| *other != resource);
            told.push((resource, version));
        }
        Ok(told)
    }

    async fn bring(&self, stamp: Stamp<'_>, fold: &Fold, mut at: Option<u64>) -> Result<u64, StoreError> {
        let resource = self.resource(fold);
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let left = self.ballot.left(&self.client, stamp.fence).await.map_err(half)?;
            match self.send(fold, at, stamp, left.min(PATIENCE)).await {
                Ok(version) => {
                    if fold.value.is_none() {
                        self.remove(resource, &name(fold), version).await;
                    }
                    return Ok(version);
                }
                Err(failed) if is_late(&failed) => {
                    return Err(half(self.ballot.fenced(&self.client, stamp.fence).await));
                }
                Err(Failed::Refused { code: 404 | 409, .. }) => {}
                Err(failed) if failed.is_passing() => {
                    last = Some(failed.into_error(OPERATION));
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failed) => return Err(failed.into_error(OPERATION)),
            }
            match self.look_at(fold).await {
                Ok(Some(object)) if object.is_by(stamp.token) => {
                    if object.gone {
                        self.remove(resource, &name(fold), object.version()).await;
                    }
                    return Ok(object.version());
                }
                // One who leads after us has ended this commit, and goes on.
                Ok(Some(object)) if object.written.as_ref().is_some_and(|by| by.fence > fence_of(stamp)) => {
                    return Err(half(self.ballot.fenced(&self.client, stamp.fence).await));
                }
                // Somebody has touched it since: what was decided holds.
                Ok(Some(object)) => at = Some(object.version()),
                // With the object its Secret is gone: who has removed them is obeyed.
                Ok(None) if fold.value.is_none() || fold.is_sealed() => {
                    return self.revision_of(resource).await;
                }
                Ok(None) => at = None,
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| unknown("a record changes all the time")))
    }

    async fn look_at_all(
        &self,
        folds: impl Iterator<Item = &Fold>,
    ) -> Result<Vec<Option<Object>>, StoreError> {
        let places: Vec<_> = folds.map(|fold| (self.resource(fold), name(fold))).collect();
        let mut found = Vec::with_capacity(places.len());
        for some in places.chunks(LOOKS) {
            let looks: Vec<_> =
                some.iter().map(|(resource, name)| self.look(resource, name).boxed()).collect();
            found.extend(try_join_all(looks).await?);
        }
        Ok(found)
    }

    async fn look_at(&self, fold: &Fold) -> Result<Option<Object>, StoreError> {
        self.look(self.resource(fold), &name(fold)).await
    }

    /// Removes a commit that is done.
    async fn forget(&self, token: &str) {
        let resource = format!("{COMMITS}/{}", called(token));
        if let Err(error) = self.client.delete(OPERATION, &resource).await {
            tracing::warn!(resource, %error, "a commit that is done is removed later");
            self.unfinished.store(true, std::sync::atomic::Ordering::Release);
        }
    }
}

fn called(token: &str) -> String {
    format!("commit-{token}")
}

fn name(fold: &Fold) -> String {
    name_of(&fold.key.id)
}

fn fence_of(stamp: Stamp<'_>) -> i64 {
    i64::try_from(stamp.fence.0).unwrap_or(i64::MAX)
}

/// It has been decided, so another one does the rest: not as if nothing had happened.
fn half(error: StoreError) -> StoreError {
    StoreError::Unavailable { operation: OPERATION, source: error.into() }
}

fn unknown(problem: &'static str) -> StoreError {
    StoreError::Unavailable { operation: OPERATION, source: problem.into() }
}
