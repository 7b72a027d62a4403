use serde_json::Value;

const STARS: &str = "********";

/// Parts of keys whose values nobody may see.
const SECRET: [&str; 7] = ["password", "secret", "privatekey", "private_key", "apikey", "api_key", "token"];

/// The value with everything that could be a secret starred out.
pub(super) fn redacted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let hide = |(key, value): (&String, &Value)| {
                let shown = if is_secret(key) && !value.is_null() { STARS.into() } else { redacted(value) };
                (key.clone(), shown)
            };
            Value::Object(map.iter().map(hide).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(redacted).collect()),
        Value::String(text) => Value::String(without_user(text)),
        other => other.clone(),
    }
}

/// The first key with a value that nobody may see, if there is one.
pub(super) fn bare(value: &Value) -> Option<&str> {
    match value {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let is_bare = is_secret(key) && !value.is_null() && value != "";
            if is_bare { Some(key.as_str()) } else { bare(value) }
        }),
        Value::Array(list) => list.iter().find_map(bare),
        _ => None,
    }
}

pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|part| key.contains(part))
}

/// `https://admin:secret@10.0.0.1/` keeps all but the account.
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..host].rfind('@').or_else(|| rest.rfind('@')) {
        Some(at) => format!("{scheme}://{STARS}{}", &rest[at..]),
        None => text.to_owned(),
    }
}
