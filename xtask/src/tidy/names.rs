//! Names that say nothing: a thing has a name for what it is.

use super::Finding;
use super::tree::{File, Tree};

const EMPTY_WORDS: &[&str] = &["common", "core", "util", "utils", "helper", "helpers", "manager", "misc"];

/// What introduces a name of ours.
const INTRODUCERS: &[&str] = &["struct", "enum", "trait", "union", "type", "mod"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let packages = tree.packages.iter().filter_map(|package| finding(&package.folder, &package.name));
    packages.chain(tree.files.iter().flat_map(check_file)).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings: Vec<_> = finding(&file.path, &file.path).into_iter().collect();
    if file.is_rust() {
        for (number, line) in file.lines() {
            findings
                .extend(introduced(line).and_then(|name| finding(&format!("{}:{number}", file.path), name)));
        }
    }
    findings
}

fn finding(place: &str, name: &str) -> Option<Finding> {
    let word = words(name).into_iter().find(|word| EMPTY_WORDS.contains(&word.as_str()))?;
    Some(Finding::wrong(place, format!("`{word}` in `{name}` says nothing: name it for what it is")))
}

/// The type or module this line introduces.
fn introduced(line: &str) -> Option<&str> {
    let mut tokens = line.split_whitespace();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    tokens.by_ref().take_while(|token| !token.starts_with("//")).find(|token| INTRODUCERS.contains(token))?;
    tokens.next()?.split(|c| !is_name(c)).next().filter(|name| !name.is_empty())
}

/// `io_util`, `IoUtil` and `io/util.rs` all hold the words io and util.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c.is_uppercase() || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(last) = words.last_mut()
        {
            last.extend(c.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_says_nothing_is_found() {
        for (path, text, expected) in [
            ("crates/a/src/util.rs", "", 1),
            ("crates/core/src/lib.rs", "", 1),
            ("crates/a/src/io_helpers.rs", "", 1),
            ("crates/a/src/score.rs", "struct Score;", 0),
            ("crates/a/src/b.rs", concat!("pub struct Volume", "Manager {"), 1),
            ("crates/a/src/b.rs", concat!("pub(crate) mod mi", "sc;"), 1),
            ("crates/a/src/b.rs", concat!("pub type Com", "monError<T> = Result<T, E>;"), 1),
            ("crates/a/src/b.rs", "use tokio_util::sync::CancellationToken;", 0),
            ("crates/a/src/b.rs", concat!("// the type man", "ager of another house"), 0),
        ] {
            assert_eq!(check(&Tree::sample(&[(path, text)])).len(), expected, "{path}: {text:?}");
        }
    }
}
