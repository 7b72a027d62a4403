//! One `field=value` of a query.
//!
//! `a|b` is either, `!a` is not, `*` stands for anything, `<a`, `>a`, `<=a`, `>=a` compare, `a..b` is a range with its
//! ends, `null` is absence, and what stands in `"…"` or `{…}` is taken as it is.

use std::cmp::Ordering;

use serde_json::Value;

use crate::record;

/// A condition on one field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    pub path: String,
    any: Vec<Test>,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Not(Box<Test>),
    Null,
    Equal(String),
    Like(Vec<String>),
    Compare(&'static [Ordering], String),
    Range(String, String),
}

impl Filter {
    pub(crate) fn parse(path: &str, value: &str) -> Self {
        Self {
            path: path.to_owned(),
            any: split_alternatives(value).iter().map(|part| Test::parse(part)).collect(),
        }
    }

    /// The one value that fits, where there is only one.
    pub(crate) fn equal(&self) -> Option<&str> {
        match self.any.as_slice() {
            [Test::Equal(value)] => Some(value),
            _ => None,
        }
    }

    /// Whether a record fits. A field in a list fits when one of its values does.
    pub(crate) fn fits(&self, record: &Value) -> bool {
        let values = values_at(record, &self.path);
        self.any.iter().any(|test| test.fits(&values))
    }
}

impl Test {
    fn parse(text: &str) -> Self {
        if let Some(literal) = unquoted(text) {
            return Self::Equal(literal.to_owned());
        }
        if let Some(rest) = text.strip_prefix('!') {
            return Self::Not(Box::new(Self::parse(rest)));
        }
        for (sign, orders) in [
            ("<=", &[Ordering::Less, Ordering::Equal][..]),
            (">=", &[Ordering::Greater, Ordering::Equal]),
            ("<", &[Ordering::Less]),
            (">", &[Ordering::Greater]),
        ] {
            if let Some(rest) = text.strip_prefix(sign) {
                return Self::Compare(orders, unquoted(rest).unwrap_or(rest).to_owned());
            }
        }
        if text == "null" {
            return Self::Null;
        }
        if let Some((from, to)) =
            text.split_once("..").filter(|(from, to)| !from.is_empty() && !to.is_empty())
        {
            return Self::Range(from.to_owned(), to.to_owned());
        }
        if text.contains('*') {
            return Self::Like(text.split('*').map(str::to_owned).collect());
        }
        Self::Equal(text.to_owned())
    }

    fn fits(&self, values: &[&Value]) -> bool {
        match self {
            Self::Not(test) => !test.fits(values),
            Self::Null => values.iter().all(|value| value.is_null()),
            Self::Like(parts) if parts.iter().all(String::is_empty) => {
                values.iter().any(|value| !value.is_null())
            }
            _ => values.iter().any(|value| !value.is_null() && self.fits_one(value)),
        }
    }

    fn fits_one(&self, value: &Value) -> bool {
        let one_of =
            |orders: &[Ordering], to: &str| compare(value, to).is_some_and(|order| orders.contains(&order));
        match self {
            Self::Equal(to) => one_of(&[Ordering::Equal], to),
            Self::Compare(orders, to) => one_of(orders, to),
            Self::Range(from, to) => {
                one_of(&[Ordering::Greater, Ordering::Equal], from)
                    && one_of(&[Ordering::Less, Ordering::Equal], to)
            }
            Self::Like(parts) => like(parts, &shown(value)),
            Self::Not(_) | Self::Null => false,
        }
    }
}

/// How a value stands in a query.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The values at a path. An object stands for its name: `volume=v1` is `volume.name=v1`.
fn values_at<'a>(record: &'a Value, path: &str) -> Vec<&'a Value> {
    let values = record::all(record, path);
    values
        .into_iter()
        .map(|value| if value.is_object() { value.get("name").unwrap_or(value) } else { value })
        .collect()
}

fn compare(value: &Value, to: &str) -> Option<Ordering> {
    match value {
        Value::Number(number) => {
            if let (Some(a), Ok(b)) = (number.as_i64(), to.parse::<i64>()) {
                return Some(a.cmp(&b));
            }
            number.as_f64()?.partial_cmp(&to.parse().ok()?)
        }
        Value::String(text) => Some(text.as_str().cmp(to)),
        Value::Bool(flag) => Some(flag.cmp(&to.parse().ok()?)),
        _ => None,
    }
}

fn like(parts: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = parts else { return false };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        let Some(at) = rest.find(part.as_str()) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last.as_str())
}

fn unquoted(text: &str) -> Option<&str> {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    quoted.or_else(|| text.strip_prefix('{').and_then(|text| text.strip_suffix('}')))
}

/// Splits at each `|` that is not quoted. A comma splits nothing: values hold commas.
fn split_alternatives(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut closing = None;
    for character in value.chars() {
        match (closing, character) {
            (None, '|') => {
                parts.push(String::new());
                continue;
            }
            (None, '"') => closing = Some('"'),
            (None, '{') => closing = Some('}'),
            (Some(end), character) if character == end => closing = None,
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_operator_finds_what_it_means() {
        let record = json!({
            "name": "vol1", "size": 100, "on": true, "time": "2026-01-02T00:00:00Z", "odd": "a|b*", "none": null,
            "svm": {"name": "svm1"}, "list": [{"x": "p"}, {"x": "q"}], "aggregates": [{"name": "a1"}],
        });
        for (path, value, fits) in [
            ("name", "vol1", true),
            ("name", "vol", false),
            ("name", "vol*", true),
            ("name", "*1", true),
            ("name", "v*l*1", true),
            ("name", "x|vol1", true),
            ("name", "!vol1", false),
            ("name", "!x", true),
            ("name", "!vol*", false),
            ("name", "a..w", true),
            ("size", "100", true),
            ("size", ">99", true),
            ("size", ">100", false),
            ("size", ">=100", true),
            ("size", "<101", true),
            ("size", "<=99", false),
            ("size", "50..100", true),
            ("size", "1..99|>99", true),
            ("size", "!100", false),
            ("size", "!>100", true),
            ("on", "true", true),
            ("on", "false", false),
            ("time", ">2026-01-01T00:00:00Z", true),
            ("odd", "\"a|b*\"", true),
            ("odd", "{a|b*}", true),
            ("odd", "a|b", false),
            ("none", "null", true),
            ("absent", "null", true),
            ("absent", "!null", false),
            ("name", "!null", true),
            ("name", "*", true),
            ("absent", "*", false),
            ("absent", "!x", true),
            ("svm", "svm1", true),
            ("list.x", "q", true),
            ("list.x", "!q", false),
            ("list.x", "r", false),
            ("aggregates", "a1", true),
        ] {
            assert_eq!(Filter::parse(path, value).fits(&record), fits, "{path}={value}");
        }
    }
}
