//! Backend files in Trident's format: what all families share.
//!
//! [`BackendFile::parse`] reads the common keys and keeps the rest. The family takes its own keys from
//! [`BackendFile::section`] and ends with [`Section::end`], which refuses what nobody took. Keys are read without
//! regard to case, as Trident reads them; two spellings of one key are an error.

mod error;
mod pools;
mod redact;
mod section;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use model::{
    BackendName, Bytes, Filesystem, Handle, Labels, PoolName, Provisioning, Topology, VolumeOption,
    VolumeOptions, nearest,
};
use serde_json::{Map, Value};

pub use error::ConfigError;
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

/// What volumes get that do not say otherwise; `None` leaves it to the family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    pub size: Option<Bytes>,
    pub provisioning: Option<Provisioning>,
    /// `Some(None)` is `raw`.
    pub filesystem: Option<Option<Filesystem>>,
    pub name_template: Option<String>,
    pub options: VolumeOptions,
}

/// What may stand at the backend and be overridden by a virtual pool.
#[derive(Clone, Debug, Default)]
struct PoolFields {
    labels: Labels,
    region: Option<String>,
    zone: Option<String>,
    topologies: Vec<Topology>,
    defaults: Defaults,
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
    /// Names the first default that is not in `accepts`, with its path. `template`: whether the family names
    /// volumes by template.
    pub fn check_defaults(
        &self,
        accepts: &BTreeSet<VolumeOption>,
        template: bool,
    ) -> Result<(), ConfigError> {
        let slices =
            self.slices.iter().enumerate().map(|(n, s)| (format!("storage[{n}].defaults"), &s.fields));
        for (path, fields) in std::iter::once(("defaults".to_owned(), &self.fields)).chain(slices) {
            let refuse = |key: &str| {
                let problem = format!("driver `{}` cannot do this; remove it", self.driver);
                Err(ConfigError::new(&self.origin, &format!("{path}.{key}"), problem))
            };
            if let Some(option) = fields.defaults.options.keys().find(|option| !accepts.contains(option)) {
                return refuse(option.as_str());
            }
            if !template && fields.defaults.name_template.is_some() {
                return refuse("nameTemplate");
            }
        }
        Ok(())
    }

    /// The file as a value, secrets included: for the store.
    pub fn to_value(&self) -> &Value {
        &self.original
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
const TOPOLOGY_KEYS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

impl PoolFields {
    fn read(keys: &mut Section, limit: Option<Bytes>) -> Result<PoolFields, ConfigError> {
        let labels = keys.map("labels", Section::text)?;
        let region = keys.text("region")?;
        let zone = keys.text("zone")?;
        let mut topologies = Vec::new();
        for mut topology in keys.list("supportedTopologies")? {
            topologies.push(read_topology(&mut topology)?);
        }
        let defaults = match keys.section("defaults")? {
            Some(mut section) => {
                Defaults::read(&mut section, limit).and_then(|d| section.end().map(|()| d))?
            }
            None => Defaults::default(),
        };
        Ok(PoolFields { labels, region, zone, topologies, defaults })
    }

    fn over(self, below: &PoolFields) -> PoolFields {
        let mut labels = below.labels.clone();
        labels.extend(self.labels);
        PoolFields {
            labels,
            region: self.region.or_else(|| below.region.clone()),
            zone: self.zone.or_else(|| below.zone.clone()),
            topologies: if self.topologies.is_empty() { below.topologies.clone() } else { self.topologies },
            defaults: self.defaults.over(&below.defaults),
        }
    }
}

impl Defaults {
    fn read(keys: &mut Section, limit: Option<Bytes>) -> Result<Defaults, ConfigError> {
        let size = keys.size("size")?;
        if let (Some(size), Some(limit)) = (size, limit)
            && size > limit
        {
            return Err(keys.error("size", format!("{size} is more than `limitVolumeSize` {limit} allows")));
        }
        let reserve: Option<Provisioning> = keys.word("spaceReserve")?;
        let kind: Option<Provisioning> = keys.word("provisioningType")?;
        if let (Some(a), Some(b)) = (reserve, kind)
            && a != b
        {
            let problem = format!("says {b} while `spaceReserve` says {a}; keep one of them");
            return Err(keys.error("provisioningType", problem));
        }
        let filesystem = match keys.text("fileSystemType")? {
            None => None,
            Some(raw) if raw.eq_ignore_ascii_case("raw") => Some(None),
            Some(text) => Some(Some(text.parse().map_err(|e| keys.error("fileSystemType", e))?)),
        };
        let mut options = VolumeOptions::new();
        for key in keys.keys() {
            if let Ok(option) = VolumeOption::from_str(&key)
                && let Some(value) = option_value(keys, option, &key)?
                && options.insert(option, value).is_some()
            {
                return Err(keys.error(&key, format!("{option} is given twice; keep one of them")));
            }
        }
        keys.known(VolumeOption::ALL.iter().map(|o| o.as_str()));
        let name_template = keys.text("nameTemplate")?;
        Ok(Defaults { size, provisioning: reserve.or(kind), filesystem, name_template, options })
    }

    fn over(self, below: &Defaults) -> Defaults {
        let mut options = below.options.clone();
        options.extend(self.options);
        Defaults {
            size: self.size.or(below.size),
            provisioning: self.provisioning.or(below.provisioning),
            filesystem: self.filesystem.or(below.filesystem),
            name_template: self.name_template.or_else(|| below.name_template.clone()),
            options,
        }
    }
}

/// A mode written as a bare number has lost its base: only quotes keep it.
fn option_value(keys: &mut Section, option: VolumeOption, key: &str) -> Result<Option<String>, ConfigError> {
    if option == VolumeOption::UnixPermissions && keys.is_number(key) {
        return Err(keys.error(key, "a mode must be in quotes, as in \"0770\""));
    }
    keys.text(key)
}

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

fn read_topology(keys: &mut Section) -> Result<Topology, ConfigError> {
    let mut topology = Topology::new();
    for key in keys.keys() {
        let full = match key.as_str() {
            "region" => TOPOLOGY_KEYS[0],
            "zone" => TOPOLOGY_KEYS[1],
            key if key.starts_with("topology.") => key,
            other => {
                let near =
                    nearest(other, TOPOLOGY_KEYS.into_iter().chain(["region", "zone"])).unwrap_or("zone");
                return Err(keys.error(other, format!("unknown topology key; did you mean `{near}`?")));
            }
        };
        if let Some(value) = keys.text(&key)?
            && topology.insert(full.to_owned(), value).is_some()
        {
            return Err(keys.error(&key, format!("`{full}` is given twice; keep one of them")));
        }
    }
    Ok(topology)
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
