//! `order_by=field [asc|desc],…`.

use std::cmp::Ordering;

use serde_json::Value;

use crate::record;
use crate::refusal::{self, Result};
use crate::schema::Schema;

/// How records are ordered.
#[derive(Debug, Default)]
pub(crate) struct Order(Vec<(String, bool)>);

impl Order {
    pub(crate) fn parse(text: &str, schema: &Schema) -> Result<Self> {
        let mut order = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (path, down) = match part.split_once(' ') {
                None => (part, false),
                Some((path, "asc")) => (path, false),
                Some((path, "desc")) => (path, true),
                Some(_) => return Err(refusal::invalid("order_by", part, "<field [asc|desc]>")),
            };
            if schema.field(path).is_none() {
                return Err(refusal::invalid("order_by", path, "<field>"));
            }
            order.push((path.to_owned(), down));
        }
        Ok(Self(order))
    }

    pub(crate) fn by(paths: &[&str]) -> Self {
        Self(paths.iter().map(|path| ((*path).to_owned(), false)).collect())
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn compare(&self, a: &Value, b: &Value) -> Ordering {
        for (path, down) in &self.0 {
            let order = compare(record::get(a, path), record::get(b, path));
            if order != Ordering::Equal {
                return if *down { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    }
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        _ => Ordering::Equal,
    }
}
