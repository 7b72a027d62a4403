//! Backend files in Trident's format: what all families share.
//!
//! [`BackendFile::parse`] reads the common keys and keeps the rest. The family takes its own keys from
//! [`BackendFile::section`] and ends with [`Section::end`], which refuses what nobody took. Keys are read without
//! regard to case, as Trident reads them; two spellings of one key are an error.

mod error;
mod fields;
mod pools;
mod redact;
mod section;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use model::{BackendName, Bytes, Handle, PoolName, VolumeOption};
use serde_json::{Map, Value};

pub use error::ConfigError;
pub use fields::Defaults;
use fields::PoolFields;
pub use section::Section;

/// A backend file that has been read; its family has yet to take its own keys.
///
/// # Behavior
/// Holds the file whole, secrets too. Debug and [`redacted`](BackendFile::redacted) never show them.
#[derive(Clone)]
pub struct BackendFile {
    original: Value,
    origin: Arc<str>,
    name: BackendName,
    driver: String,
    state: UserState,
    prefix: Option<String>,
    limit: Option<Bytes>,
    credentials: Option<Credentials>,
    trace: BTreeMap<String, bool>,
    warnings: Vec<String>,
    fields: PoolFields,
    own: Map<String, Value>,
    slices: Vec<Slice>,
}

/// Whether the backend takes new volumes. Those it has are served in either state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserState {
    #[default]
    Normal,
    Suspended,
}

/// Where the secrets are, when they are not in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub name: String,
    /// `secret` unless the file says otherwise.
    pub kind: String,
}

/// One entry of `storage`, the backend's fields merged in.
#[derive(Clone)]
struct Slice {
    name: PoolName,
    fields: PoolFields,
    own: Map<String, Value>,
}

impl BackendFile {
    /// # Behavior
    /// JSON when the first character is `{`, else YAML. `origin` stands before every message: a file name.
    ///
    /// # Errors
    /// Text that is neither, a key given twice, and every mistake in a common key, by its path. Unknown keys are
    /// the family's to refuse, since only it knows its own.
    pub fn parse(text: &str, origin: &str) -> Result<BackendFile, ConfigError> {
        BackendFile::from_value(text::read(text, origin)?, origin)
    }

    /// As [`parse`](BackendFile::parse), of what [`to_value`](BackendFile::to_value) gave.
    ///
    /// # Errors
    /// As [`parse`](BackendFile::parse).
    pub fn from_value(original: Value, origin: &str) -> Result<BackendFile, ConfigError> {
        let origin: Arc<str> = origin.into();
        let Value::Object(map) = original.clone() else {
            let problem = format!("holds {}; write the keys of a backend", section::kind(&original));
            return Err(ConfigError::new(&origin, "", problem));
        };
        let mut keys = Section::new(origin.clone(), String::new(), map);
        if keys.number("version")? != Some(1) {
            return Err(keys.error("version", "this is not a backend file of version 1; write `version: 1`"));
        }
        let driver: String = keys.text("storageDriverName")?.ok_or_else(|| {
            keys.error("storageDriverName", "missing; write the kind of storage, as in `linux`")
        })?;
        let name = keys.text("backendName")?.unwrap_or_else(|| driver.clone());
        let name = BackendName::new(name).map_err(|e| keys.error("backendName", e))?;
        let mut warnings = Vec::new();
        if keys.flag("disableDelete")?.is_some() {
            warnings.push("`disableDelete` has no effect".to_owned());
        }
        keys.flag("debug")?;
        let state = keys.word("userState")?.unwrap_or_default();
        let prefix = prefix(&mut keys)?;
        let limit = keys.size("limitVolumeSize")?;
        let credentials = credentials(&mut keys)?;
        let trace = keys.map("debugTraceFlags", Section::flag)?;
        let fields = PoolFields::read(&mut keys, limit)?;
        let mut slices = Vec::new();
        for (n, mut slice) in keys.list("storage")?.into_iter().enumerate() {
            let name = PoolName::new(format!("{name}_pool_{n}"))
                .map_err(|e| slice.error("", format!("this virtual pool has no legal name: {e}")))?;
            let fields = PoolFields::read(&mut slice, limit)?.over(&fields);
            slices.push(Slice { name, fields, own: slice.rest() });
        }
        let own = keys.rest();
        Ok(BackendFile {
            original,
            origin,
            name,
            driver,
            state,
            prefix,
            limit,
            credentials,
            trace,
            warnings,
            fields,
            own,
            slices,
        })
    }

    /// `backendName`, or the driver's name where the file has none.
    pub fn name(&self) -> &BackendName {
        &self.name
    }

    /// `storageDriverName`.
    pub fn driver_name(&self) -> &str {
        &self.driver
    }

    pub fn user_state(&self) -> UserState {
        self.state
    }

    /// `storagePrefix`; `None` is the family's default, `""` is no prefix.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// `limitVolumeSize`.
    pub fn limit(&self) -> Option<Bytes> {
        self.limit
    }

    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The file with the keys of the secret that its `credentials` name: as if they stood in it, but
    /// [`to_value`](BackendFile::to_value) and what is shown never have them.
    ///
    /// # Errors
    /// A key that stands in the file as well.
    pub fn with_secret(&self, secret: BTreeMap<String, String>) -> Result<BackendFile, ConfigError> {
        let mut file = BackendFile { credentials: None, ..self.clone() };
        for (key, value) in secret {
            if self.own.keys().any(|own| own.eq_ignore_ascii_case(&key)) {
                let problem = "stands here and in the secret that `credentials` names; keep one of them";
                return Err(ConfigError::new(&self.origin, &key, problem));
            }
            file.own.insert(key, Value::String(value));
        }
        Ok(file)
    }

    /// Whether `debugTraceFlags` asks for this one.
    pub fn traces(&self, flag: &str) -> bool {
        self.trace.get(flag).copied().unwrap_or(false)
    }

    /// Keys that were accepted though they do nothing, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Defaults at the backend's level.
    pub fn defaults(&self) -> &Defaults {
        &self.fields.defaults
    }

    /// The family's keys at the top level.
    pub fn section(&self) -> Section {
        Section::new(self.origin.clone(), String::new(), self.own.clone()).knowing(COMMON_KEYS)
    }

    /// The family's keys of each virtual pool, in order.
    pub fn pool_sections(&self) -> Vec<Section> {
        let section = |(n, slice): (usize, &Slice)| {
            Section::new(self.origin.clone(), format!("storage[{n}]"), slice.own.clone()).knowing(POOL_KEYS)
        };
        self.slices.iter().enumerate().map(section).collect()
    }

    /// Refuses defaults that a family cannot honour.
    ///
    /// # Errors
    /// Names the first default that is not in `accepts`, with its path.
    pub fn check_defaults(&self, accepts: &BTreeSet<VolumeOption>) -> Result<(), ConfigError> {
        for (path, defaults) in self.all_defaults() {
            if let Some(option) = defaults.options.keys().find(|option| !accepts.contains(option)) {
                let problem = format!("driver `{}` cannot do this; remove it", self.driver);
                return Err(ConfigError::new(&self.origin, &format!("{path}.{option}"), problem));
            }
        }
        Ok(())
    }

    /// Defaults at every level with their paths; those of virtual pools have the backend's merged in.
    pub fn all_defaults(&self) -> impl Iterator<Item = (String, &Defaults)> {
        let slices = self.slices.iter().enumerate();
        let slices = slices.map(|(n, slice)| (format!("storage[{n}].defaults"), &slice.fields.defaults));
        std::iter::once(("defaults".to_owned(), &self.fields.defaults)).chain(slices)
    }

    /// The file as a value, secrets included: for the store.
    pub fn to_value(&self) -> &Value {
        &self.original
    }

    /// The first key with a secret in the file itself, if there is one.
    pub fn bare_secret(&self) -> Option<&str> {
        redact::bare(&self.original)
    }

    /// The file as a value that can be shown to anybody.
    pub fn redacted(&self) -> Value {
        redact::redacted(&self.original)
    }
}

const COMMON_KEYS: &[&str] = &[
    "version",
    "storageDriverName",
    "backendName",
    "debugTraceFlags",
    "debug",
    "storagePrefix",
    "limitVolumeSize",
    "credentials",
    "disableDelete",
    "userState",
    "storage",
    "labels",
    "region",
    "zone",
    "supportedTopologies",
    "defaults",
];
const POOL_KEYS: &[&str] = &["labels", "region", "zone", "supportedTopologies", "defaults"];
fn prefix(keys: &mut Section) -> Result<Option<String>, ConfigError> {
    let text = match keys.take("storagePrefix")? {
        None => return Ok(None),
        Some(Value::Object(map)) if map.is_empty() => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => {
            let problem = format!("{} is no prefix; write a text, or \"\" for none", section::kind(&other));
            return Err(keys.error("storagePrefix", problem));
        }
    };
    match Handle::new(format!("{text}x")) {
        Ok(_) if text.len() <= 64 => Ok(Some(text)),
        Ok(_) => Err(keys.error("storagePrefix", "longer than 64 characters")),
        Err(e) => Err(keys.error("storagePrefix", format!("`{text}` {}", e.problem))),
    }
}

fn credentials(keys: &mut Section) -> Result<Option<Credentials>, ConfigError> {
    let Some(mut section) = keys.section("credentials")? else { return Ok(None) };
    let name =
        section.text("name")?.ok_or_else(|| section.error("name", "missing; write the secret's name"))?;
    let kind = section.text("type")?.unwrap_or_else(|| "secret".to_owned());
    section.end()?;
    Ok(Some(Credentials { name, kind }))
}

impl FromStr for UserState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "normal" => Ok(UserState::Normal),
            "suspended" => Ok(UserState::Suspended),
            _ => Err(format!("unknown state `{text}`; write normal or suspended")),
        }
    }
}

impl fmt::Debug for BackendFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendFile({}: {})", self.origin, self.redacted())
    }
}

#[cfg(test)]
mod tests;
