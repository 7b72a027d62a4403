//! Classes in Trident's parameter grammar.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::{
    Attribute, ClassName, Filesystem, Pool, Provisioning, Requirement, Requirements, Selector, nearest,
};

/// A class as a person writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Class {
    pub name: ClassName,
    /// Keys of Trident's grammar, with or without `trident.netapp.io/` or `leister.io/` before them.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
}

/// A class understood.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub requirements: Requirements,
    pub selector: Option<Selector>,
    pub storage_pools: Option<PoolList>,
    pub additional: Option<PoolList>,
    pub exclude: Option<PoolList>,
    pub filesystem: Option<Filesystem>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("class `{class}`, parameter `{parameter}`: {problem}")]
pub struct ClassError {
    pub class: String,
    pub parameter: String,
    pub problem: String,
}

/// `backend:pool1,pool2;backend2:pool`: both sides are regular expressions, the backend's covers the whole name.
#[derive(Clone, Debug)]
pub struct PoolList(Vec<PoolPattern>);

#[derive(Clone, Debug)]
struct PoolPattern {
    backend: Regex,
    pools: Vec<Regex>,
}

const PREFIXES: [&str; 2] = ["trident.netapp.io/", "leister.io/"];
const STORAGE_POOLS: &str = "storagePools";
const ADDITIONAL: &str = "additionalStoragePools";
const REQUIRED_STORAGE: &str = "requiredStorage";
const EXCLUDE: &str = "excludeStoragePools";
const SELECTOR: &str = "selector";
const FS_TYPE: &str = "fsType";
const KUBERNETES: &str = "csi.storage.k8s.io/";

impl Class {
    /// What the parameters mean.
    ///
    /// # Errors
    /// An unknown parameter (with the nearest known one) or a value that does not fit, by name.
    pub fn wishes(&self) -> Result<Wishes, ClassError> {
        let mut wishes = Wishes::default();
        for (key, value) in &self.parameters {
            read(&mut wishes, key, value).map_err(|problem| ClassError {
                class: self.name.to_string(),
                parameter: key.clone(),
                problem,
            })?;
        }
        Ok(wishes)
    }
}

fn read(wishes: &mut Wishes, key: &str, value: &str) -> Result<(), String> {
    let plain = PREFIXES.iter().find_map(|p| key.strip_prefix(p)).unwrap_or(key);
    match plain {
        STORAGE_POOLS => wishes.storage_pools = Some(PoolList::parse(value)?),
        ADDITIONAL | REQUIRED_STORAGE => wishes.additional = Some(PoolList::parse(value)?),
        EXCLUDE => wishes.exclude = Some(PoolList::parse(value)?),
        SELECTOR => wishes.selector = Some(Selector::parse(value).map_err(|e| e.to_string())?),
        FS_TYPE | "csi.storage.k8s.io/fstype" => wishes.filesystem = Some(value.parse()?),
        _ if plain.starts_with(KUBERNETES) => {}
        _ => {
            let attribute = attribute(plain)?;
            wishes.requirements.insert(attribute, Requirement::parse(attribute, value)?);
        }
    }
    Ok(())
}

fn attribute(key: &str) -> Result<Attribute, String> {
    key.parse().map_err(|_| {
        let known = Attribute::ALL.iter().map(|a| a.as_str());
        let all = known.chain([STORAGE_POOLS, ADDITIONAL, EXCLUDE, SELECTOR, FS_TYPE]);
        match nearest(key, all.clone()) {
            Some(near) => format!("unknown parameter; did you mean `{near}`?"),
            None => format!("unknown parameter; known: {}", all.collect::<Vec<_>>().join(", ")),
        }
    })
}

impl Wishes {
    /// How space is taken, where the class says so.
    pub fn provisioning(&self) -> Option<Provisioning> {
        match self.requirements.get(&Attribute::ProvisioningType) {
            Some(Requirement::Word(word)) => word.parse().ok(),
            _ => None,
        }
    }
}

impl PoolList {
    /// # Errors
    /// A part without `:`, or an expression that is not one.
    pub fn parse(text: &str) -> Result<PoolList, String> {
        text.trim()
            .trim_end_matches(';')
            .split(';')
            .map(|part| PoolPattern::parse(part.trim()))
            .collect::<Result<_, _>>()
            .map(PoolList)
    }

    pub fn matches(&self, pool: &Pool) -> bool {
        self.0.iter().any(|pattern| pattern.matches(pool))
    }
}

impl PoolPattern {
    fn parse(text: &str) -> Result<PoolPattern, String> {
        let (backend, pools) = text.split_once(':').ok_or_else(|| {
            format!("`{text}` is not `backend:pool1,pool2`; write `backend:.*` for all pools")
        })?;
        let compile =
            |expression: String| Regex::new(&expression).map_err(|e| format!("`{expression}`: {e}"));
        Ok(PoolPattern {
            backend: compile(format!("^(?:{})$", backend.trim()))?,
            pools: pools.split(',').map(|p| compile(p.trim().to_owned())).collect::<Result<_, _>>()?,
        })
    }

    fn matches(&self, pool: &Pool) -> bool {
        self.backend.is_match(pool.backend.as_str())
            && self.pools.iter().any(|p| p.is_match(pool.name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(parameters: &[(&str, &str)]) -> Class {
        Class {
            name: ClassName::new("gold").unwrap(),
            parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            mount_options: Vec::new(),
        }
    }

    #[test]
    fn the_case_studys_class_is_understood() {
        let wishes = class(&[("backendType", "ontap-nas"), ("provisioningType", "thick")]).wishes().unwrap();
        assert_eq!(wishes.provisioning(), Some(Provisioning::Thick));
        assert_eq!(wishes.requirements[&Attribute::BackendType], Requirement::Word("ontap-nas".into()));
    }

    #[test]
    fn prefixed_parameters_mean_the_same() {
        let wishes =
            class(&[("trident.netapp.io/media", "SSD"), ("leister.io/snapshots", "true")]).wishes().unwrap();
        assert_eq!(wishes.requirements.len(), 2);
    }

    #[test]
    fn mistakes_name_the_parameter_and_the_way_out() {
        for (key, value, part) in [
            ("provisoningType", "thin", "did you mean `provisioningType`?"),
            ("media", "tape", "hdd, hybrid or ssd"),
            ("snapshots", "maybe", "true or false"),
            ("IOPS", "many", "whole number"),
            ("storagePools", "gold", "backend:pool1,pool2"),
            ("storagePools", "a:(", "regex"),
            ("selector", "a=", "empty"),
            ("fsType", "ntfs", "unknown file system"),
        ] {
            let error = class(&[(key, value)]).wishes().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(key), "{error}");
        }
    }
}
