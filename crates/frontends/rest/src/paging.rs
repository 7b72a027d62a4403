//! Pages by name: the token is the last name of the page before, so nothing that stays is shown twice or never.

use api::List;

use crate::status::{Refusal, Result};

pub(crate) const DEFAULT_LIMIT: usize = 1000;
pub(crate) const LARGEST_LIMIT: usize = 10_000;
/// Tokens are ours to change: the mark makes an older one recognisable.
const MARK: &str = "after.";

pub(crate) fn limit(wanted: Option<usize>) -> Result<usize> {
    match wanted {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=LARGEST_LIMIT) => Ok(limit),
        Some(other) => {
            Err(Refusal::invalid(format!("limit is {other}; use 1 to {LARGEST_LIMIT}")).field("limit"))
        }
    }
}

/// The name that the page begins behind.
pub(crate) fn after(token: Option<&str>) -> Result<Option<&str>> {
    match token {
        None | Some("") => Ok(None),
        Some(token) => token.strip_prefix(MARK).map(Some).ok_or_else(broken_token),
    }
}

pub(crate) fn broken_token() -> Refusal {
    Refusal::invalid("the token in `continue` is not one that was handed out here")
        .field("continue")
        .hint("list again without it")
}

/// One page of items in order; `name` says where the next one begins.
pub(crate) fn page<T>(items: impl Iterator<Item = T>, limit: usize, name: impl Fn(&T) -> String) -> List<T> {
    let mut items: Vec<T> = items.take(limit + 1).collect();
    let next = if items.len() > limit {
        items.truncate(limit);
        items.last().map(|last| format!("{MARK}{}", name(last)))
    } else {
        None
    };
    List { items, next }
}
