//! `fields=…`: which fields of a record are shown.

use serde_json::{Map, Value};

use crate::refusal::{self, Result};
use crate::schema::Schema;

/// The fields that are shown.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    all: bool,
    expensive: bool,
    named: Vec<String>,
    hidden: Vec<String>,
}

impl Selection {
    /// All fields but expensive ones: what an instance shows when nothing is asked for.
    pub(crate) fn standard() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Only what is [added](Selection::add).
    pub(crate) fn only() -> Self {
        Self::default()
    }

    pub(crate) fn parse(text: &str, schema: &Schema, ignore_unknown: bool) -> Result<Self> {
        let mut selection = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, into) = match part.strip_prefix('!') {
                Some(name) => (name, &mut selection.hidden),
                None => (part, &mut selection.named),
            };
            match name {
                "*" => selection.all = true,
                "**" => (selection.all, selection.expensive) = (true, true),
                _ => {
                    let path = name.strip_suffix(".*").unwrap_or(name);
                    if schema.field(path).is_some() {
                        into.push(path.to_owned());
                    } else if !ignore_unknown {
                        return Err(refusal::invalid("fields", name, "<field,...>"));
                    }
                }
            }
        }
        Ok(selection)
    }

    /// Shows this too.
    pub(crate) fn add(&mut self, path: &str) {
        self.named.push(path.to_owned());
    }

    pub(crate) fn apply(&self, schema: &Schema, record: Value) -> Value {
        self.show("", record, schema).unwrap_or_else(|| Value::Object(Map::new()))
    }

    fn show(&self, path: &str, value: Value, schema: &Schema) -> Option<Value> {
        match value {
            Value::Object(fields) => {
                let is_empty = fields.is_empty();
                let shown: Map<String, Value> = fields
                    .into_iter()
                    .filter(|(name, _)| !name.starts_with('_'))
                    .filter_map(|(name, value)| {
                        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                        Some((name, self.show(&path, value, schema)?))
                    })
                    .collect();
                (!shown.is_empty() || (is_empty && self.shows(path, schema))).then_some(Value::Object(shown))
            }
            Value::Array(values) if values.iter().any(Value::is_object) => {
                let shown: Vec<Value> =
                    values.into_iter().filter_map(|value| self.show(path, value, schema)).collect();
                (!shown.is_empty()).then_some(Value::Array(shown))
            }
            Value::Null => None,
            value => self.shows(path, schema).then_some(value),
        }
    }

    /// Whether the field at this path is shown. Naming an object names all it has; hiding wins.
    fn shows(&self, path: &str, schema: &Schema) -> bool {
        let within = |names: &[String]| {
            names.iter().any(|name| {
                path == name || path.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        if within(&self.hidden) {
            return false;
        }
        let expensive = schema.field(path).is_some_and(|field| field.expensive);
        within(&self.named) || (self.all && (self.expensive || !expensive))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema;

    fn shown(fields: &str) -> Value {
        let volume = json!({
            "name": "v", "size": 5, "_own": 1, "nas": {"path": "/v", "gid": 0}, "svm": {"name": "s", "uuid": "u"},
            "aggregates": [{"name": "a", "uuid": "b"}], "comment": null, "space": {"size": 5, "used": 1},
        });
        let schema = schema::of("volume");
        Selection::parse(fields, schema, false).unwrap().apply(schema, volume)
    }

    #[test]
    fn a_field_is_shown_alone_or_with_all_it_has() {
        assert_eq!(shown("name"), json!({"name": "v"}));
        assert_eq!(shown("nas.path,svm"), json!({"nas": {"path": "/v"}, "svm": {"name": "s", "uuid": "u"}}));
        assert_eq!(shown("aggregates.name"), json!({"aggregates": [{"name": "a"}]}));
        assert_eq!(shown("comment"), json!({}));
    }

    #[test]
    fn one_star_leaves_out_what_is_expensive_and_two_do_not() {
        assert_eq!(shown("*")["nas"].get("path"), None);
        assert_eq!(shown("*")["space"]["used"], 1);
        assert_eq!(shown("**")["nas"]["path"], "/v");
        assert_eq!(shown("*,nas.path")["nas"]["path"], "/v");
        assert_eq!(shown("**,!space")["space"], Value::Null);
        assert_eq!(shown("**")["_own"], Value::Null);
    }

    #[test]
    fn an_unknown_field_is_refused_or_ignored_as_asked() {
        let schema = schema::of("volume");
        let refused = Selection::parse("name,colour", schema, false).unwrap_err();
        assert_eq!((refused.code, refused.target.as_deref()), (262_197, Some("fields")));
        assert!(Selection::parse("name,colour", schema, true).is_ok());
    }
}
