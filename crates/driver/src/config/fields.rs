use std::str::FromStr;

use model::{
    Bytes, Filesystem, Labels, Provisioning, Template, Topology, VolumeOption, VolumeOptions, nearest,
};

use super::{ConfigError, Section};

/// What volumes get that do not say otherwise; `None` leaves it to the family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    pub size: Option<Bytes>,
    pub provisioning: Option<Provisioning>,
    /// `Some(None)` is `raw`.
    pub filesystem: Option<Option<Filesystem>>,
    pub name_template: Option<Template>,
    pub options: VolumeOptions,
}

/// What may stand at the backend and be overridden by a virtual pool.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolFields {
    pub(super) labels: Labels,
    pub(super) region: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) topologies: Vec<Topology>,
    pub(super) defaults: Defaults,
}

pub(super) const TOPOLOGY_KEYS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

impl PoolFields {
    pub(super) fn read(keys: &mut Section, limit: Option<Bytes>) -> Result<PoolFields, ConfigError> {
        let labels = keys.map("labels", label)?;
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

    pub(super) fn over(self, below: &PoolFields) -> PoolFields {
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
        let name_template = template(keys, "nameTemplate")?;
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

/// A label's value may be a template of what its volumes are for.
fn label(keys: &mut Section, key: &str) -> Result<Option<String>, ConfigError> {
    Ok(template(keys, key)?.map(String::from))
}

fn template(keys: &mut Section, key: &str) -> Result<Option<Template>, ConfigError> {
    let Some(text) = keys.text(key)? else { return Ok(None) };
    Template::parse(&text).map(Some).map_err(|error| keys.error(key, error))
}

/// A mode written as a bare number has lost its base: only quotes keep it.
fn option_value(keys: &mut Section, option: VolumeOption, key: &str) -> Result<Option<String>, ConfigError> {
    if option == VolumeOption::UnixPermissions && keys.is_number(key) {
        return Err(keys.error(key, "a mode must be in quotes, as in \"0770\""));
    }
    keys.text(key)
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
