//! The fields that each resource has, and what may be done with them.
//!
//! The lists are taken from the vendor's Python client by `tests/fields.py`: a field that a driver misspells is
//! refused here as an array refuses it.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde_json::Value;

use crate::refusal::{self, Result};

/// The fields of one resource by their dotted paths.
#[derive(Debug)]
pub(crate) struct Schema {
    fields: BTreeMap<&'static str, Field>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    kind: Kind,
    list: bool,
    pub expensive: bool,
    create: bool,
    modify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Links,
    Text,
    Number,
    Flag,
    Time,
    Any,
}

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Create,
    Modify,
}

/// The schema by its file's name.
///
/// # Panics
/// There is no such file: a resource of this crate names it wrongly, which any call to it shows.
pub(crate) fn of(name: &str) -> &'static Schema {
    static SCHEMAS: LazyLock<HashMap<&'static str, Schema>> =
        LazyLock::new(|| FILES.iter().map(|(name, text)| (*name, parse(text))).collect());
    SCHEMAS.get(name).unwrap_or_else(|| panic!("no schema `{name}`"))
}

impl Schema {
    pub(crate) fn field(&self, path: &str) -> Option<Field> {
        self.fields.get(path).copied()
    }

    /// Whether a reference at this path shows a link.
    pub(crate) fn has_links(&self, path: &str) -> bool {
        let links = if path.is_empty() { "_links".to_owned() } else { format!("{path}._links") };
        self.fields.contains_key(links.as_str())
    }

    /// Checks a body: unknown fields, fields that may not be set, and kinds.
    pub(crate) fn check(&self, body: &Value, purpose: Use) -> Result<()> {
        self.check_fields("", body, purpose, false)
    }

    fn check_fields(&self, above: &str, body: &Value, purpose: Use, may: bool) -> Result<()> {
        for (name, value) in body.as_object().into_iter().flatten() {
            if name == "_links" {
                continue;
            }
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            let field = self.field(&path).ok_or_else(|| refusal::unexpected(&path))?;
            let here = may || if purpose == Use::Create { field.create } else { field.modify };
            if !here && field.kind != Kind::Object {
                return Err(refusal::read_only(&path));
            }
            self.check_value(&path, value, field, purpose, here)?;
        }
        Ok(())
    }

    fn check_value(&self, path: &str, value: &Value, field: Field, purpose: Use, may: bool) -> Result<()> {
        if value.is_null() {
            return Ok(());
        }
        let elements = match (field.list, value) {
            (true, Value::Array(values)) => values.iter().collect(),
            (false, value) | (true, value) => vec![value],
        };
        for value in elements {
            let fits = match field.kind {
                Kind::Object => value.is_object(),
                Kind::Number => value.is_number(),
                Kind::Flag => value.is_boolean(),
                Kind::Text => value.is_string() || value.is_number(),
                Kind::Time => value.is_string(),
                Kind::Any | Kind::Links => true,
            };
            if !fits {
                let why = format!("<{:?}>", field.kind).to_lowercase();
                return Err(refusal::invalid(path, &value.to_string().replace('"', ""), &why));
            }
            if field.kind == Kind::Object {
                self.check_fields(path, value, purpose, may)?;
            }
        }
        Ok(())
    }

    /// The paths in a record that this schema does not know.
    #[cfg(test)]
    pub(crate) fn unknown(&self, record: &Value) -> Vec<String> {
        let mut unknown = Vec::new();
        self.collect_unknown("", record, &mut unknown);
        unknown
    }

    #[cfg(test)]
    fn collect_unknown(&self, above: &str, record: &Value, unknown: &mut Vec<String>) {
        match record {
            Value::Array(values) => {
                values.iter().for_each(|value| self.collect_unknown(above, value, unknown))
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
                    match self.field(&path) {
                        None => unknown.push(path),
                        Some(field) if field.kind == Kind::Object => {
                            self.collect_unknown(&path, value, unknown)
                        }
                        Some(_) => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn parse(text: &'static str) -> Schema {
    let fields = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (path, kind, uses) = (words.next()?, words.next()?, words.next().unwrap_or_default());
        let field = Field {
            kind: match kind.trim_end_matches("[]") {
                "object" => Kind::Object,
                "links" => Kind::Links,
                "text" => Kind::Text,
                "number" => Kind::Number,
                "flag" => Kind::Flag,
                "time" => Kind::Time,
                _ => Kind::Any,
            },
            list: kind.ends_with("[]"),
            expensive: uses.contains('e'),
            create: uses.contains('c'),
            modify: uses.contains('m'),
        };
        Some((path, field))
    });
    Schema { fields: fields.collect() }
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("schema/fields/", $name, ".txt")))),*];
    };
}

files![
    "aggregate",
    "cluster",
    "cluster_peer",
    "consistency_group",
    "consistency_group_snapshot",
    "ems_application_log",
    "ems_event",
    "export_client",
    "export_policy",
    "export_rule",
    "fcp_service",
    "igroup",
    "igroup_initiator",
    "interface",
    "iscsi_credentials",
    "iscsi_service",
    "job",
    "licence",
    "lun",
    "lun_attribute",
    "lun_map",
    "lun_map_reporting_node",
    "nfs_service",
    "node",
    "nvme_host",
    "nvme_map",
    "nvme_namespace",
    "nvme_service",
    "nvme_subsystem",
    "qos_policy",
    "qtree",
    "quota_report",
    "quota_rule",
    "schedule",
    "snapmirror_policy",
    "snapmirror_relationship",
    "snapmirror_transfer",
    "snapshot",
    "snapshot_policy",
    "storage_unit",
    "storage_unit_snapshot",
    "svm",
    "svm_peer",
    "volume",
];
