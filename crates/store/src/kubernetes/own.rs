//! Which number a record has in this process, and what is ours at all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Definition;
use super::object::{Object, not_ours};
use crate::{Entry, Key, Revision, StoreError};

/// The numbers of our commits of several writes, by the word on their records.
#[derive(Debug, Default)]
pub(super) struct Own(Mutex<HashMap<String, u64>>);

/// Commits of several writes whose records are known by one number, before those of all are forgotten.
const REMEMBERED: usize = 10_000;

impl Own {
    pub(super) fn remember(&self, token: &str, revision: u64) {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= REMEMBERED {
            // Their records have the numbers of their objects then: who expects another one reads them again.
            own.clear();
        }
        own.insert(token.to_owned(), revision);
    }

    pub(super) fn revision(&self, object: &Object) -> Revision {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let common = object.written.as_ref().and_then(|written| own.get(&written.token));
        Revision(common.copied().unwrap_or_else(|| object.version()))
    }

    /// `None`: Leister has not written it, and leaves it alone.
    pub(super) fn entry(
        &self,
        definition: &Definition,
        object: &Object,
    ) -> Result<Option<Entry>, StoreError> {
        let resource = definition.plural;
        let name = &object.metadata.name;
        match object.decode() {
            Ok((id, value)) => {
                if object.is_edited(definition.is_private) {
                    tracing::warn!(
                        resource,
                        name,
                        "somebody has edited its spec, which only shows the record; it is not read, and the next change \
                         of the record undoes it"
                    );
                }
                Ok(Some(Entry { key: Key::new(definition.kind, id), value, revision: self.revision(object) }))
            }
            Err(problem) if object.written.is_none() => {
                tracing::error!(resource, name, problem, "this object is left alone");
                Ok(None)
            }
            Err(problem) => Err(not_ours(object, resource, &problem)),
        }
    }
}
