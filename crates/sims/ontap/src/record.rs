//! Objects as JSON documents, and their fields by dotted paths.

use serde_json::{Map, Value};

/// The value at a dotted path, through objects only.
pub fn get<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, name| value.get(name))
}

/// The text at a path.
pub fn text<'a>(record: &'a Value, path: &str) -> Option<&'a str> {
    get(record, path)?.as_str()
}

/// The number at a path.
pub fn number(record: &Value, path: &str) -> Option<u64> {
    get(record, path)?.as_u64()
}

/// The flag at a path; an absent one is false.
pub fn flag(record: &Value, path: &str) -> bool {
    get(record, path).and_then(Value::as_bool).unwrap_or(false)
}

/// Sets the value at a path and makes the objects on the way.
pub fn set(record: &mut Value, path: &str, value: impl Into<Value>) {
    let mut here = record;
    for name in path.split('.') {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Value::Object(fields) = here else { return };
        here = fields.entry(name).or_insert(Value::Null);
    }
    *here = value.into();
}

/// Sets the value at a path where there is none.
pub(crate) fn set_default(record: &mut Value, path: &str, value: impl Into<Value>) {
    if get(record, path).is_none_or(Value::is_null) {
        set(record, path, value);
    }
}

/// Takes the value at a path out.
pub fn remove(record: &mut Value, path: &str) -> Option<Value> {
    match path.rsplit_once('.') {
        None => record.as_object_mut()?.remove(path),
        Some((above, name)) => {
            let above = above.split('.').try_fold(record, |value, name| value.get_mut(name))?;
            above.as_object_mut()?.remove(name)
        }
    }
}

/// Puts the fields of `from` over those of `into`; objects are merged, all else is replaced.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// All values at a path, through the elements of lists.
pub(crate) fn all<'a>(record: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![record];
    for name in path.split('.') {
        found = found.into_iter().flat_map(elements).filter_map(|value| value.get(name)).collect();
    }
    found.into_iter().flat_map(elements).collect()
}

/// Opens dotted keys: `{"a.b": 1}` is `{"a": {"b": 1}}`, as ONTAP takes both.
pub(crate) fn undot(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut opened = Value::Object(Map::new());
            for (path, value) in fields {
                let mut nested = undot(value);
                for name in path.rsplit('.') {
                    nested = Value::Object(Map::from_iter([(name.to_owned(), nested)]));
                }
                merge(&mut opened, nested);
            }
            opened
        }
        Value::Array(values) => values.into_iter().map(undot).collect(),
        value => value,
    }
}

fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dotted_keys_are_opened_and_merged_with_nested_ones() {
        let body = json!({"svm.name": "s", "nas": {"path": "/a"}, "nas.gid": 1, "l": [{"x.y": 2}]});
        let opened = json!({"svm": {"name": "s"}, "nas": {"path": "/a", "gid": 1}, "l": [{"x": {"y": 2}}]});
        assert_eq!(undot(body), opened);
    }

    #[test]
    fn values_are_found_through_lists() {
        let record = json!({"a": [{"b": 1}, {"b": [2, 3]}]});
        assert_eq!(all(&record, "a.b"), [&json!(1), &json!(2), &json!(3)]);
    }

    #[test]
    fn what_was_set_is_there_and_what_was_removed_is_not() {
        let mut record = json!({});
        set(&mut record, "a.b.c", 5);
        assert_eq!(number(&record, "a.b.c"), Some(5));
        assert_eq!(remove(&mut record, "a.b.c"), Some(json!(5)));
        assert_eq!(get(&record, "a.b.c"), None);
    }
}
