//! What one kind of object is on the wire: its path, its keys, and what can be done with it.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::array::{Limits, Manner};
use crate::record;
use crate::refusal::{self, Refusal, Result};
use crate::rest::params::Params;
use crate::schema::{self, Schema};
use crate::state::State;

/// A kind of object.
pub(crate) struct Resource {
    /// Of the collection, below `/api`; `{…}` are fields of the object that belong to its parent.
    pub path: &'static str,
    /// The fields that make the rest of the path of one object; none when there is only one.
    pub keys: &'static [&'static str],
    /// Where its objects are kept.
    pub table: &'static str,
    pub schema: &'static str,
    /// The fields that a collection shows, besides its keys, when none are asked for.
    pub shown: &'static [&'static str],
    /// The order of a collection; none is the order of the keys.
    pub order: &'static [&'static str],
    /// Where the object says which SVM it belongs to; none for what belongs to the cluster.
    pub svm: Option<&'static str>,
    /// Whether changes are answered with a job.
    pub jobs: bool,
    /// What each change takes in its query besides the common parameters.
    pub params: &'static [&'static str],
    /// The whole document from what is stored.
    pub view: fn(&State, &Value) -> Value,
    pub post: Option<Post>,
    pub patch: Option<Patch>,
    pub delete: Option<Delete>,
}

/// Creates an object below these parents and returns its key.
pub(crate) type Post = fn(&mut Change, &[String], Value) -> Result<String>;
/// Modifies the object with this key.
pub(crate) type Patch = fn(&mut Change, &str, Value) -> Result<()>;
/// Deletes the object with this key.
pub(crate) type Delete = fn(&mut Change, &str) -> Result<()>;

impl Resource {
    /// What most resources are.
    pub(crate) const PLAIN: Self = Self {
        path: "",
        keys: &["uuid"],
        table: "",
        schema: "",
        shown: &["name"],
        order: &[],
        svm: Some("svm.uuid"),
        jobs: false,
        params: &[],
        view: |_, record| record.clone(),
        post: None,
        patch: None,
        delete: None,
    };

    pub(crate) fn schema(&self) -> &'static Schema {
        schema::of(self.schema)
    }

    /// The fields in the path of the collection.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// The template of the collection or of one object, as it stands in the log of calls.
    pub(crate) fn template(&self, instance: bool) -> String {
        let mut template = format!("/{}", self.path);
        if instance {
            for key in self.keys {
                template.push_str(&format!("/{{{key}}}"));
            }
        }
        template
    }
}

/// A change under way: it works on its own copy of the state.
pub(crate) struct Change<'a> {
    pub state: &'a mut State,
    pub now: Timestamp,
    pub params: &'a Params,
    pub manner: &'a Manner,
    /// The SVM that the caller is confined to.
    pub scope: Option<&'a str>,
    /// Identities for what is made, the same when a job makes it later.
    pub ids: VecDeque<String>,
    /// The identities that were used.
    pub used: Vec<String>,
}

impl Change<'_> {
    /// A new UUID.
    pub(crate) fn new_uuid(&mut self) -> String {
        let number = self.state.next_number();
        let uuid = self.ids.pop_front().unwrap_or_else(|| uuid_of(number));
        self.used.push(uuid.clone());
        uuid
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.manner.limits
    }

    pub(crate) fn time(&self) -> Value {
        json!(time(self.now))
    }

    /// The SVM that a body names, or the caller is confined to: `{"name", "uuid"}`.
    pub(crate) fn svm(&self, body: &Value) -> Result<Value> {
        let (name, uuid) = (record::text(body, "svm.name"), record::text(body, "svm.uuid"));
        let svm = match (name, uuid, self.scope) {
            (None, None, Some(scope)) => self.state.find("svms", scope),
            (None, None, None) => {
                let message = "No SVM was specified. Either \"svm.name\" or \"svm.uuid\" must be supplied.";
                return Err(Refusal::new(400, 2_621_707, message).at("svm"));
            }
            (_, Some(uuid), _) => self.state.find("svms", uuid),
            (Some(name), None, _) => self.state.find_by("svms", "name", name).map(|(_, svm)| svm),
        };
        let absent = || {
            let shown = name.or(uuid).unwrap_or_default();
            Refusal::new(400, 2_621_462, format!("SVM \"{shown}\" does not exist.")).at("svm.name")
        };
        let svm = svm.ok_or_else(absent)?;
        if self.scope.is_some_and(|scope| record::text(svm, "uuid") != Some(scope)) {
            return Err(absent());
        }
        if name.is_some_and(|name| record::text(svm, "name") != Some(name)) {
            let message = "The specified SVM UUID and SVM name refer to different SVMs.";
            return Err(Refusal::new(400, 2_621_706, message).at("svm"));
        }
        Ok(json!({"name": svm["name"], "uuid": svm["uuid"]}))
    }

    /// The volume that `path` in a body names, of this SVM, with its key.
    pub(crate) fn volume(&self, body: &Value, path: &str, svm: &Value) -> Result<(String, Value)> {
        let (name, uuid) =
            (record::text(body, &format!("{path}.name")), record::text(body, &format!("{path}.uuid")));
        let found = match (name, uuid) {
            (None, None) => return Err(refusal::missing(&format!("{path}.name"))),
            (_, Some(uuid)) => self.state.find("volumes", uuid),
            (Some(name), None) => find_named(self.state, "volumes", svm, name),
        };
        let absent = || {
            let message = format!("Volume \"{}\" was not found.", name.or(uuid).unwrap_or_default());
            Refusal::new(404, 917_927, message).at(&format!("{path}.name"))
        };
        let volume = found.ok_or_else(absent)?;
        if volume["svm"]["uuid"] != svm["uuid"] {
            return Err(absent());
        }
        if name.is_some_and(|name| volume["name"] != name) {
            let message = "The specified volume UUID and volume name refer to different volumes.";
            return Err(Refusal::new(400, 918_236, message).at(path));
        }
        let key = record::text(volume, "uuid").unwrap_or_default().to_owned();
        Ok((key, volume.clone()))
    }
}

/// The object of an SVM with this name.
pub(crate) fn find_named<'a>(state: &'a State, table: &str, svm: &Value, name: &str) -> Option<&'a Value> {
    state.find_named(table, record::text(svm, "uuid")?, name)
}

/// A reference to an object: its name and UUID.
pub(crate) fn reference(record: &Value) -> Value {
    json!({"name": record["name"], "uuid": record["uuid"]})
}

/// The name in a body, checked for its characters and length.
pub(crate) fn name<'a>(
    body: &'a Value,
    field: &str,
    longest: usize,
    legal: impl Fn(char) -> bool,
) -> Result<&'a str> {
    let name =
        record::text(body, field).filter(|name| !name.is_empty()).ok_or_else(|| refusal::missing(field))?;
    if let Some(wrong) = name.chars().find(|character| !legal(*character)) {
        return Err(refusal::invalid(field, name, &format!("the character \"{wrong}\" is not allowed")));
    }
    if name.chars().count() > longest {
        return Err(refusal::invalid(field, name, &format!("longer than {longest} characters")));
    }
    Ok(name)
}

/// A time as ONTAP writes it.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// A UUID for a number, the same one each time.
pub(crate) fn uuid_of(number: u64) -> String {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let low = (mixed ^ (mixed >> 31)) & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-11f0-9e1d-{low:012x}", mixed >> 32, number & 0xffff)
}
