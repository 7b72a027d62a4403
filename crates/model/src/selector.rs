//! Label selectors of classes: clauses joined by `;`, all of which must hold.

use std::collections::BTreeSet;

use crate::Labels;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Clause>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Clause {
    Equal(String, String),
    /// The key must exist.
    NotEqual(String, String),
    In(String, BTreeSet<String>),
    /// True when the key is absent.
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Absent(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("selector `{text}`: {problem}; write clauses such as `tier=gold; site in (a, b); !slow`")]
pub struct SelectorError {
    text: String,
    problem: String,
}

impl Selector {
    /// # Errors
    /// An empty selector, an empty clause, or characters other than letters, digits, `_` and `-` in a word.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        let clauses: Result<Vec<Clause>, String> =
            text.trim().trim_end_matches(';').split(';').map(|part| clause(part.trim())).collect();
        clauses.map(Selector).map_err(|problem| SelectorError { text: text.to_owned(), problem })
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|clause| match clause {
            Clause::Equal(key, value) => labels.get(key) == Some(value),
            Clause::NotEqual(key, value) => labels.get(key).is_some_and(|v| v != value),
            Clause::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Clause::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Clause::Exists(key) => labels.contains_key(key),
            Clause::Absent(key) => !labels.contains_key(key),
        })
    }
}

fn clause(text: &str) -> Result<Clause, String> {
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Clause::Absent(word(key)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Clause::NotEqual(word(key)?, word(value)?));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Clause::Equal(word(key)?, word(value)?));
    }
    if let Some((head, list)) = text.split_once('(') {
        let list = list.trim_end().strip_suffix(')').ok_or_else(|| format!("`{text}` lacks its `)`"))?;
        let values = list.split(',').map(word).collect::<Result<BTreeSet<_>, _>>()?;
        let mut head = head.split_whitespace();
        return match (head.next(), head.next(), head.next()) {
            (Some(key), Some("in"), None) => Ok(Clause::In(word(key)?, values)),
            (Some(key), Some("notin"), None) => Ok(Clause::NotIn(word(key)?, values)),
            _ => Err(format!("`{text}` is neither `key in (…)` nor `key notin (…)`")),
        };
    }
    Ok(Clause::Exists(word(text)?))
}

fn word(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a clause or word is empty".to_owned());
    }
    match text.chars().find(|c| !(c.is_alphanumeric() || *c == '_' || *c == '-')) {
        Some(bad) => Err(format!("`{text}` has the character `{bad}`")),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_match_by_tridents_rules() {
        let labels: Labels =
            [("tier", "gold"), ("site", "a")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (text, expected) in [
            ("tier=gold", true),
            ("tier==gold; site=a", true),
            ("tier=gold;site=b", false),
            ("tier!=silver", true),
            ("absent!=x", false),
            ("site in (a, b)", true),
            ("site notin (a,b)", false),
            ("absent notin (a)", true),
            ("tier", true),
            ("!tier", false),
            ("!absent;", true),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
    }

    #[test]
    fn bad_syntax_is_refused() {
        for text in ["", ";", "a=b;;c", "a in b)", "a in (b", "a of (b)", "a=", "ti er"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
