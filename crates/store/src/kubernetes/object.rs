//! A record as an object of the cluster, and its name there.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// What we read of an object. `spec` is for people; the record is what is believed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    pub(super) metadata: Metadata,
    /// That of the record, where the object cannot be called so.
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) spec: Option<Value>,
    #[serde(default)]
    pub(super) record: Content,
    #[serde(default)]
    pub(super) written: Option<Written>,
    /// Deleted, and not yet removed.
    #[serde(default)]
    pub(super) gone: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    pub(super) resource_version: String,
}

/// Who wrote it: the fencing number, and a word that no other write has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    #[serde(default)]
    pub(super) fence: i64,
    #[serde(default)]
    pub(super) token: String,
}

/// Bytes, as text where they are some; or the Secret that has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) metadata: ListMetadata,
    pub(super) items: Vec<T>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMetadata {
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(super) more: Option<String>,
}

/// The longest name of an object.
const LONGEST: usize = 253;
const MARK: &str = "-x";
const DIGITS: usize = 20;

impl Object {
    pub(super) fn version(&self) -> u64 {
        number(&self.metadata.resource_version)
    }

    /// It is there for its Secret, before it is a record.
    pub(super) fn is_to_come(&self) -> bool {
        self.gone && self.record == Content::default()
    }

    pub(super) fn is_by(&self, token: &str) -> bool {
        self.written.as_ref().is_some_and(|written| written.token == token)
    }

    /// The id and the bytes of the record, and what is wrong with what stands beside it.
    ///
    /// # Errors
    /// It is none of ours, or somebody has made it unreadable.
    pub(super) fn decode(&self) -> Result<(&str, Arc<[u8]>), String> {
        let name = &self.metadata.name;
        let id = self.id.as_deref().unwrap_or(name);
        if self.written.is_none() {
            return Err("Leister has not written it".to_owned());
        }
        if name_of(id) != *name {
            return Err(format!("it says that it is `{id}`, which would be called {}", name_of(id)));
        }
        Ok((id, self.record.bytes()?))
    }

    /// Whether somebody has changed what people read, which nobody else does.
    pub(super) fn is_edited(&self, is_private: bool) -> bool {
        let wanted = self.record.view(is_private);
        let seen = self.spec.clone().unwrap_or_else(|| json!({}));
        !is_alike(&wanted, &seen)
    }
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Content {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(|c| c.is_control() && c != '\n') => {
                Content { text: Some(text.to_owned()), ..Content::default() }
            }
            _ => Content::coded(STANDARD.encode(bytes)),
        }
    }

    pub(super) fn coded(base64: String) -> Content {
        Content { base64: Some(base64), ..Content::default() }
    }

    pub(super) fn in_secret(name: String) -> Content {
        Content { secret: Some(name), ..Content::default() }
    }

    pub(super) fn bytes(&self) -> Result<Arc<[u8]>, String> {
        match (&self.text, &self.base64) {
            (Some(text), None) => Ok(text.as_bytes().into()),
            (None, Some(code)) => {
                STANDARD.decode(code).map(Into::into).map_err(|e| format!("its record is no base64: {e}"))
            }
            _ => Err("it has no record".to_owned()),
        }
    }

    /// As people are to read it: a JSON object, or nothing.
    pub(super) fn view(&self, is_private: bool) -> Value {
        if is_private {
            return json!({});
        }
        let parsed = self.text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        parsed.filter(Value::is_object).unwrap_or_else(|| json!({}))
    }
}

/// What an object is called whose record has this id: the same, if the cluster allows it.
pub(super) fn name_of(id: &str) -> String {
    if is_name(id) && !is_marked(id) {
        return id.to_owned();
    }
    let digest = Sha256::digest(id.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mark = format!("{MARK}{}", &hex[..DIGITS]);
    let plain: String = id
        .chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' => c,
            'A'..='Z' => c.to_ascii_lowercase(),
            _ => '-',
        })
        .take(LONGEST - mark.len())
        .collect();
    let plain = plain.trim_matches('-');
    format!("{}{mark}", if plain.is_empty() { "id" } else { plain })
}

/// A DNS-1123 subdomain.
fn is_name(id: &str) -> bool {
    let is_firm = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_label = |label: &str| {
        is_firm(label.bytes().next())
            && is_firm(label.bytes().last())
            && label.bytes().all(|c| c == b'-' || is_firm(Some(c)))
    };
    id.len() <= LONGEST && id.split('.').all(is_label)
}

/// It could be the made name of another id.
fn is_marked(id: &str) -> bool {
    let digits = id.rsplit_once(MARK).map(|(_, digits)| digits);
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// The same but for nothings, which an apiserver drops, and for how a number is written.
fn is_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let known = |key: &String| one.get(key).unwrap_or(&Value::Null);
            one.iter().all(|(key, value)| is_alike(value, other.get(key).unwrap_or(&Value::Null)))
                && other.iter().all(|(key, value)| is_alike(known(key), value))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_alike(one, other))
        }
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

/// Resource versions of one resource are numbers that grow: so Kubernetes says since 1.35, and did it always.
pub(super) fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}

pub(super) fn not_ours(object: &Object, resource: &str, problem: &str) -> StoreError {
    StoreError::Damaged {
        place: format!("{resource}/{}", object.metadata.name),
        problem: problem.to_owned(),
        advice: "put it back as it was, or remove it with kubectl".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_ids_are_names_and_all_others_get_one_that_no_other_id_has() {
        for id in ["a", "vol-1", "node1.example.org", "0"] {
            assert_eq!(name_of(id), id);
        }
        let long = "a".repeat(300);
        let ids = ["", "A", "vol/snap", "vol_snap", "vol-snap-", "日本", "nul\0l", "-", ".", "a..b", &long];
        let made: Vec<String> = ids.iter().map(|id| name_of(id)).collect();
        for (id, name) in ids.iter().zip(&made) {
            assert!(is_name(name) && is_marked(name), "{id}: {name}");
            // Nor is that the name of the record which is called so.
            assert_ne!(name_of(name), *name);
            assert_eq!(made.iter().filter(|other| *other == name).count(), 1);
        }
        assert!(name_of("vol/snap").starts_with("vol-snap-x"));
    }

    #[test]
    fn bytes_come_back_and_what_people_read_is_compared_by_its_meaning() {
        let record = br#"{"b":1,"a":{"size":18446744073709551615,"none":null}}"#;
        for bytes in [record.as_slice(), b"", b"no json", &[0, 1], &[255, 254]] {
            assert_eq!(*Content::of(bytes).bytes().unwrap(), *bytes);
        }
        let mut object = Object { record: Content::of(record), ..Object::default() };
        object.spec = Some(json!({ "a": { "size": 18_446_744_073_709_551_615.0 }, "b": 1 }));
        assert!(!object.is_edited(false));
        for spec in [json!({ "a": {}, "b": 1 }), json!({}), json!({ "a": { "size": 1 }, "b": 1, "c": 2 })] {
            object.spec = Some(spec);
            assert!(object.is_edited(false));
        }
        assert!(Content::default().bytes().is_err());
    }
}
