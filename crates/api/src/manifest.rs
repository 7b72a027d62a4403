//! Files that people write: backends in Trident's format, and classes in any of three shapes (ours, the one
//! Trident stores, a Kubernetes StorageClass), as YAML or JSON, several documents in one file.

mod class;

use serde_json::Value;

use crate::ClassCreate;

/// One document of a file.
#[derive(Clone, PartialEq)]
pub enum Document {
    /// Has `storageDriverName`. No Debug: it may hold secrets.
    Backend(Value),
    Class(ClassCreate),
}

/// Says which document of the file is at fault, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", document.map(|n| format!("document {n}: ")).unwrap_or_default())]
pub struct ManifestError {
    /// `None`: the text is not YAML or JSON, or the file has only one document.
    pub document: Option<usize>,
    pub problem: String,
}

const BACKEND_MARK: &str = "storageDriverName";

/// Reads all documents of a text.
///
/// # Errors
/// Names the document, the field and the nearest known one. An empty text is an error.
pub fn read(text: &str) -> Result<Vec<Document>, ManifestError> {
    let values: Vec<Value> = parse(text)?.into_iter().flat_map(flatten).collect();
    if values.is_empty() {
        return Err(whole(
            "the text is empty; write a backend (`storageDriverName: …`) or a class (`name: …`)",
        ));
    }
    let several = values.len() > 1;
    values
        .into_iter()
        .enumerate()
        .map(|(i, value)| {
            document(value).map_err(|problem| ManifestError { document: several.then_some(i + 1), problem })
        })
        .collect()
}

/// Reads a text that holds classes only.
///
/// # Errors
/// As [`read`]; a backend among them is an error.
pub fn classes(text: &str) -> Result<Vec<ClassCreate>, ManifestError> {
    read(text)?
        .into_iter()
        .map(|document| match document {
            Document::Class(class) => Ok(class),
            Document::Backend(_) => {
                Err(whole("this is a backend (it has `storageDriverName`); a class was expected"))
            }
        })
        .collect()
}

fn document(value: Value) -> Result<Document, String> {
    match value {
        Value::Object(fields) if fields.keys().any(|key| key.eq_ignore_ascii_case(BACKEND_MARK)) => {
            Ok(Document::Backend(Value::Object(fields)))
        }
        Value::Object(fields) => class::read(fields).map(Document::Class),
        other => Err(format!("expected `key: value` lines, found {}", kind_of(&other))),
    }
}

/// JSON is tried first where it looks like it: its tabs are no YAML.
fn parse(text: &str) -> Result<Vec<Value>, ManifestError> {
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    if looks_like_json {
        let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        if let Ok(values) = json {
            return Ok(values);
        }
    }
    serde_saphyr::from_multiple(text)
        .map_err(|e| whole(format!("not valid YAML or JSON: {}", first_line(&e))))
}

/// The parser's message without its drawing of the place, which could show a secret.
fn first_line(error: &serde_saphyr::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// A list of documents is as good as several documents, and so is Kubernetes' `kind: List`.
fn flatten(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.into_iter().flat_map(flatten).collect(),
        Value::Object(mut fields) if fields.get("kind").and_then(Value::as_str) == Some("List") => {
            fields.remove("items").map(flatten).unwrap_or_default()
        }
        Value::Null => Vec::new(),
        other => vec![other],
    }
}

fn whole(problem: impl Into<String>) -> ManifestError {
    ManifestError { document: None, problem: problem.into() }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "key: value lines",
    }
}

#[cfg(test)]
mod tests;
