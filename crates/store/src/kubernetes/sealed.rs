//! Records that not everybody shall read: what one holds is in a Secret, which its object names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Call, Client, Failed, PATIENCE, SECRETS, unusable};
use super::object::{Content, Object, name_of, not_ours};
use super::policy::is_late;
use super::write::{Fold, Stamp, created};
use super::{Definition, GROUP, Inner};
use crate::{Fence, Key, StoreError};

/// A write that tells nothing any more.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) fold: Fold,
    /// The version that the object has.
    pub(super) at: Option<u64>,
    /// What has the record's former content.
    pub(super) former: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Secret {
    #[serde(default)]
    data: Data,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Data {
    record: Option<String>,
}

/// On a Secret: the kind of the record in it.
const RECORD: &str = "leister.io/record";
const OPERATION: &str = "keep a record in a Secret";

impl Inner {
    /// Puts what a private record shall hold into a Secret, before the record names it.
    ///
    /// # Behavior
    /// A Secret never changes: another content is another Secret, so one that writes late spoils none. The object owns
    /// it, and is there before it, marked as gone if it is new: whatever a death leaves goes with the object.
    ///
    /// # Errors
    /// `Conflict` as for the write.
    pub(super) async fn seal(&self, fence: Fence, fold: Fold, at: Option<u64>) -> Result<Sealed, StoreError> {
        let definition = self.definition(fold.key.kind).filter(|definition| definition.is_private);
        let (Some(definition), Some(content)) = (definition, &fold.value) else {
            return Ok(Sealed { fold, at, former: None });
        };
        let found = self.look(definition.plural, &name_of(&fold.key.id)).await?;
        let there = found.as_ref().filter(|object| !object.gone);
        if there.map(|object| self.own.revision(object)) != fold.expected {
            return Err(self.conflict(&fold, there));
        }
        let owner = match found {
            Some(object) => object,
            None => self.place(definition, &fold.key, fence).await?,
        };
        let bytes = content.bytes().map_err(|problem| not_ours(&owner, definition.plural, &problem))?;
        let name = name_of(&format!("leister-{}-{}-{}", definition.kind, owner.metadata.name, self.token()));
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": RECORD, "immutable": true,
            "metadata": {
                "name": name, "labels": { RECORD: definition.kind },
                "ownerReferences": [{
                    "apiVersion": format!("{GROUP}/v1"), "kind": definition.name,
                    "name": owner.metadata.name, "uid": owner.metadata.uid,
                }],
            },
            "data": { "record": STANDARD.encode(&bytes) },
        });
        let call = Call { body: Some(&body), ..Call::of(OPERATION, Method::POST, SECRETS) };
        match self.client.repeat::<Value>(&call).await {
            // No other has its name: the answer was lost.
            Ok(_) | Err(Failed::Refused { code: 409, .. }) => {}
            Err(failed) => return Err(failed.into_error(OPERATION)),
        }
        let (at, former) = (Some(owner.version()), owner.record.secret);
        Ok(Sealed { fold: Fold { value: Some(Content::in_secret(name)), ..fold }, at, former })
    }

    /// An object that is marked as gone from the beginning.
    async fn place(&self, definition: &Definition, key: &Key, fence: Fence) -> Result<Object, StoreError> {
        let fold = Fold { key: key.clone(), expected: None, value: None };
        let token = self.token();
        let body = created(definition, &name_of(&key.id), &fold, Stamp { fence, token: &token });
        let limit = self.ballot.left(&self.client, fence).await?.min(PATIENCE);
        let call = Call { body: Some(&body), limit, ..Call::of(OPERATION, Method::POST, definition.plural) };
        match self.client.repeat(&call).await {
            Ok(object) => Ok(object),
            Err(failed) if is_late(&failed) => Err(self.ballot.fenced(&self.client, fence).await),
            Err(Failed::Refused { code: 409, .. }) => {
                let found = self.look(definition.plural, &name_of(&key.id)).await?;
                match found {
                    Some(object) if object.is_by(&token) => Ok(object),
                    other => Err(self.conflict(&fold, other.as_ref())),
                }
            }
            Err(failed) => Err(failed.into_error(OPERATION)),
        }
    }

    /// Removes what a record does not name any more.
    pub(super) async fn drop_secret(&self, name: Option<String>) {
        let Some(name) = name else { return };
        if let Err(error) = self.client.delete(OPERATION, &format!("{SECRETS}/{name}")).await {
            tracing::warn!(name, %error, "a Secret that no record names any more stays until its record goes");
        }
    }

    /// Sees to it that no private record holds anything itself, as those of older versions do.
    ///
    /// # Errors
    /// The cluster's definitions are older than this program, and would drop what names a Secret.
    pub(super) async fn seal_all(&self, fence: Fence) -> Result<(), StoreError> {
        for definition in self.kinds.iter().filter(|definition| definition.is_private) {
            self.knows_secrets(definition, fence).await?;
            for object in self.list::<Object>(definition.plural).await? {
                if object.gone || object.written.is_none() || object.record.secret.is_some() {
                    continue;
                }
                let (resource, name) = (definition.plural, object.metadata.name.as_str());
                let key = Key::new(definition.kind, object.id.as_deref().unwrap_or(name));
                let expected = Some(self.own.revision(&object));
                match self.one(fence, Fold { key, expected, value: Some(object.record.clone()) }).await {
                    Ok(_) => tracing::info!(resource, name, "what it holds is in a Secret from now on"),
                    Err(error) => tracing::warn!(
                        resource,
                        name,
                        %error,
                        "what it holds stays where many may read it, until the next start"
                    ),
                }
            }
        }
        Ok(())
    }

    async fn knows_secrets(&self, definition: &Definition, fence: Fence) -> Result<(), StoreError> {
        let token = self.token();
        let value = Some(Content::in_secret(token.clone()));
        let fold = Fold { key: Key::new(definition.kind, &token), expected: None, value };
        let body = created(definition, &token, &fold, Stamp { fence, token: &token });
        let call = Call {
            query: "dryRun=All",
            body: Some(&body),
            ..Call::of(OPERATION, Method::POST, definition.plural)
        };
        match self.client.repeat::<Object>(&call).await {
            Ok(object) if object.record.secret == Some(token) => Ok(()),
            Ok(_) => Err(unusable(
                format!("the cluster's definition of {}.{GROUP} is an older one", definition.plural),
                "tell it the new one with `leister crds | kubectl apply -f -`",
            )),
            Err(failed) => Err(failed.into_error(OPERATION)),
        }
    }
}

impl Client {
    /// An object with what it holds in it. `None`: it is not there any more, or nobody can read it again.
    pub(super) async fn opened(
        &self,
        resource: &str,
        mut object: Object,
    ) -> Result<Option<Object>, StoreError> {
        const OPERATION: &str = "read the Secret of a record";
        loop {
            let Some(secret) = object.record.secret.clone() else { return Ok(Some(object)) };
            let found: Option<Secret> = self.get(OPERATION, &format!("{SECRETS}/{secret}")).await?;
            if let Some(code) = found.and_then(|found| found.data.record) {
                object.record = Content::coded(code);
                return Ok(Some(object));
            }
            let name = object.metadata.name.clone();
            match self.get::<Object>(OPERATION, &format!("{resource}/{name}")).await? {
                None => return Ok(None),
                Some(now) if now.record.secret == object.record.secret => {
                    tracing::error!(
                        resource,
                        name,
                        secret,
                        "its Secret is gone, so it is not read; remove it with kubectl, and make it again"
                    );
                    return Ok(None);
                }
                // It has changed since.
                Some(now) => object = now,
            }
        }
    }
}
