//! Text that does not belong in a finished tree. The needles are written in halves, so as not to find themselves.

use super::Finding;
use super::tree::{File, Tree};

struct Banned {
    needle: &'static str,
    /// Only as a word of its own, not inside a longer one.
    word: bool,
    instead: &'static str,
}

const BANNED: &[Banned] = &[
    Banned { needle: concat!("TO", "DO"), word: true, instead: "do it now, or file an issue" },
    Banned { needle: concat!("FIX", "ME"), word: true, instead: "do it now, or file an issue" },
    Banned { needle: concat!("XX", "X"), word: true, instead: "do it now, or file an issue" },
    Banned { needle: concat!("todo", "!("), word: true, instead: "write it, or leave it out" },
    Banned { needle: concat!("unimple", "mented!("), word: true, instead: "write it, or leave it out" },
    Banned { needle: concat!("#[ig", "nore"), word: false, instead: "print `skipped: <reason>` in the test" },
    Banned { needle: concat!("/wo", "rk/"), word: false, instead: "no path of one machine" },
    Banned { needle: concat!("/fa", "rm/"), word: false, instead: "no path of one machine" },
];

/// At the beginning of a line.
const MERGE_MARKERS: &[&str] = &[concat!("<<<<", "<<< "), concat!(">>>>", ">>> "), concat!("||||", "||| ")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|file| file.path != "Cargo.lock").flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        let place = format!("{}:{number}", file.path);
        for banned in BANNED.iter().filter(|banned| banned.is_in(line)) {
            findings.push(Finding::wrong(&place, format!("`{}`: {}", banned.needle, banned.instead)));
        }
        if MERGE_MARKERS.iter().any(|marker| line.starts_with(marker)) {
            findings.push(Finding::wrong(&place, "a merge left its marker"));
        }
    }
    findings
}

impl Banned {
    fn is_in(&self, line: &str) -> bool {
        line.match_indices(self.needle).any(|(at, needle)| {
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let before = line[..at].chars().next_back();
            // A needle that ends in a bracket has its end already.
            let after = line[at + needle.len()..].chars().next().filter(|_| !needle.ends_with('('));
            // A machine's path begins there; the middle of another path is none.
            let in_path =
                needle.starts_with('/') && before.is_some_and(|c| c.is_alphanumeric() || "._-".contains(c));
            !in_path && !(self.word && (inside(before) || inside(after)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_unfinished_tree_is_found() {
        for (text, expected) in [
            (concat!("// TO", "DO: later"), 1),
            (concat!("// FIX", "ME"), 1),
            (concat!("mktemp -d x.XX", "XXXX"), 0),
            (concat!("mastoDO", "NT"), 0),
            (concat!("    todo", "!()"), 1),
            (concat!("    unimple", "mented!(\"x\")"), 1),
            (concat!("#[ig", "nore = \"slow\"]"), 1),
            (concat!("cd /wo", "rk/main"), 1),
            (concat!("net", "/wo", "rk/x"), 0),
            (concat!("<<<<", "<<< HEAD"), 1),
            ("a fine line", 0),
        ] {
            assert_eq!(check(&Tree::sample(&[("docs/a.md", text)])).len(), expected, "{text}");
        }
    }
}
