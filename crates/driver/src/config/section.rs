use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use model::{Bytes, NoUnit, nearest};
use serde_json::{Map, Value};

use super::ConfigError;
use super::redact::{is_secret, redacted};

/// A map of a backend file whose keys are taken one by one.
///
/// # Behavior
/// Each reader takes its key out, without regard to case. Absent, `null` and the empty text are `None`.
/// [`end`](Section::end) refuses what is left.
pub struct Section {
    origin: Arc<str>,
    path: String,
    map: Map<String, Value>,
    known: Vec<String>,
}

impl Section {
    pub(super) fn new(origin: Arc<str>, path: String, map: Map<String, Value>) -> Section {
        Section { origin, path, map, known: Vec::new() }
    }

    pub(super) fn knowing(mut self, known: &[&str]) -> Section {
        self.known(known.iter().copied());
        self
    }

    /// Keys to name when an unknown one is like them.
    pub fn known<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        self.known.extend(keys.into_iter().map(str::to_owned));
    }

    /// Keys that nobody has taken yet.
    pub fn keys(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    /// A text; numbers and booleans are taken as they are written.
    ///
    /// # Errors
    /// A list or a map.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.take(key)? {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(n)) => Ok(Some(n.to_string())),
            Some(Value::Bool(b)) => Ok(Some(b.to_string())),
            Some(other) => Err(self.wrong(key, &other, "a text")),
        }
    }

    /// `true` or `false`, in quotes or not.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.take(key)? else { return Ok(None) };
        match &value {
            Value::Bool(b) => Ok(Some(*b)),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => match text.to_ascii_lowercase().parse() {
                Ok(b) => Ok(Some(b)),
                Err(_) => Err(self.wrong(key, &value, "true or false")),
            },
            _ => Err(self.wrong(key, &value, "true or false")),
        }
    }

    /// A whole number, in quotes or not.
    ///
    /// # Errors
    /// Anything else.
    pub fn number(&mut self, key: &str) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.take(key)? else { return Ok(None) };
        let number = match &value {
            Value::Number(n) => n.as_u64(),
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(key, &value, "a whole number"))
    }

    /// A size; without a unit it is bytes.
    ///
    /// # Errors
    /// As [`Bytes::parse`].
    pub fn size(&mut self, key: &str) -> Result<Option<Bytes>, ConfigError> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => Bytes::parse(&text, NoUnit::Bytes).map(Some).map_err(|e| self.error(key, e)),
        }
    }

    /// One of the words of a type.
    ///
    /// # Errors
    /// What the type says of the word.
    pub fn word<T: FromStr<Err = String>>(&mut self, key: &str) -> Result<Option<T>, ConfigError> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|e| self.error(key, e)),
        }
    }

    /// A map whose keys are the user's, each value read by `read`.
    ///
    /// # Errors
    /// Not a map, or the first value that `read` refuses.
    pub fn map<T>(
        &mut self,
        key: &str,
        read: impl Fn(&mut Section, &str) -> Result<Option<T>, ConfigError>,
    ) -> Result<BTreeMap<String, T>, ConfigError> {
        let Some(mut section) = self.section(key)? else { return Ok(BTreeMap::new()) };
        let mut map = BTreeMap::new();
        for name in section.keys() {
            if let Some(value) = read(&mut section, &name)? {
                map.insert(name, value);
            }
        }
        Ok(map)
    }

    /// A nested map.
    ///
    /// # Errors
    /// Not a map.
    pub fn section(&mut self, key: &str) -> Result<Option<Section>, ConfigError> {
        match self.take(key)? {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Section::new(self.origin.clone(), self.join(key), map))),
            Some(other) => Err(self.wrong(key, &other, "a map of keys and values")),
        }
    }

    /// A list of texts, or one text; absent is empty.
    ///
    /// # Errors
    /// A map, or an entry that is no text.
    pub fn texts(&mut self, key: &str) -> Result<Vec<String>, ConfigError> {
        let entries = match self.take(key)? {
            None => return Ok(Vec::new()),
            Some(Value::Array(entries)) => entries,
            Some(one) => vec![one],
        };
        let entry = |(n, value)| match value {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(&format!("{key}[{n}]"), &other, "a text")),
        };
        entries.into_iter().enumerate().map(entry).collect()
    }

    /// A list of maps; absent is empty.
    ///
    /// # Errors
    /// Not a list, or an entry that is no map.
    pub fn list(&mut self, key: &str) -> Result<Vec<Section>, ConfigError> {
        let entries = match self.take(key)? {
            None => return Ok(Vec::new()),
            Some(Value::Array(entries)) => entries,
            Some(other) => return Err(self.wrong(key, &other, "a list")),
        };
        let entry = |(n, value)| match value {
            Value::Object(map) => {
                Ok(Section::new(self.origin.clone(), format!("{}[{n}]", self.join(key)), map))
            }
            other => Err(self.wrong(&format!("{key}[{n}]"), &other, "a map of keys and values")),
        };
        entries.into_iter().enumerate().map(entry).collect()
    }

    /// # Errors
    /// The first key that nobody has taken, with the nearest one that somebody would have.
    pub fn end(self) -> Result<(), ConfigError> {
        let Some(key) = self.map.keys().next() else { return Ok(()) };
        let problem = match nearest(key, self.known.iter().map(String::as_str)) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None if self.known.is_empty() => "unknown key; remove it".to_owned(),
            None => format!("unknown key; known: {}", self.known.join(", ")),
        };
        Err(self.error(key, problem))
    }

    /// A mistake in the value of `key`, in the family's words; the empty key is the section itself.
    pub fn error(&self, key: &str, problem: impl fmt::Display) -> ConfigError {
        ConfigError::new(&self.origin, &self.join(key), problem)
    }

    pub(super) fn rest(self) -> Map<String, Value> {
        self.map
    }

    pub(super) fn is_number(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_number)
    }

    /// The raw value, taken out.
    pub(super) fn take(&mut self, key: &str) -> Result<Option<Value>, ConfigError> {
        if !self.known.iter().any(|k| k == key) {
            self.known.push(key.to_owned());
        }
        let mut spellings = self.map.keys().filter(|k| k.eq_ignore_ascii_case(key)).cloned();
        let (first, second) = (spellings.next(), spellings.next());
        if let (Some(first), Some(second)) = (&first, second) {
            return Err(self.error(key, format!("given as `{first}` and as `{second}`; keep one of them")));
        }
        Ok(first.and_then(|k| self.map.remove(&k)).filter(|v| !v.is_null()))
    }

    fn wrong(&self, key: &str, value: &Value, wanted: &str) -> ConfigError {
        if is_secret(key) {
            return self.error(key, format!("{}; write {wanted}", kind(value)));
        }
        let shown: String = redacted(value).to_string().chars().take(60).collect();
        self.error(key, format!("`{shown}` is {}; write {wanted}", kind(value)))
    }

    fn join(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(n) if n.is_u64() => "a number",
        Value::Number(_) => "a negative or broken number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
