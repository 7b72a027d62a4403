//! Links between pages lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::Finding;
use super::tree::{File, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    pages.flat_map(|page| check_page(page, tree)).collect()
}

fn check_page(page: &File, tree: &Tree) -> Vec<Finding> {
    let mut in_code = false;
    let mut findings = Vec::new();
    for (number, line) in page.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line).filter(|target| !leads_somewhere(target, page, tree)) {
            findings.push(Finding::wrong(
                format!("{}:{number}", page.path),
                format!("`{target}` does not exist"),
            ));
        }
    }
    findings
}

/// Targets of `[text](target)` and `<img src="target">`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let after = |opening: &'static str, closing: [char; 2]| {
        line.split(opening).skip(1).filter_map(move |rest| rest.split(closing).next())
    };
    after("](", [')', ' ']).chain(after("src=\"", ['"', '"']))
}

fn leads_somewhere(target: &str, page: &File, tree: &Tree) -> bool {
    if target.contains("://") || target.starts_with("mailto:") || target.starts_with('#') {
        return true;
    }
    let path = target.split('#').next().unwrap_or(target);
    let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let Some(wanted) = resolve(&folder.join(path)) else { return false };
    tree.files.iter().any(|file| Path::new(&file.path).starts_with(&wanted))
}

/// Takes `.` and `..` out; `None` when it leaves the tree.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => resolved.pop().then_some(())?,
            Component::CurDir => {}
            Component::Normal(name) => resolved.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        for (text, expected) in [
            ("see [install](docs/install.md)", 0),
            ("see [install](docs/install.md#packages) and [docs](docs/)", 0),
            ("see [the web](https://example.org/x) and [below](#below)", 0),
            ("see [lost](docs/lost.md)", 1),
            ("<img src=\"docs/lost.svg\">", 1),
            ("see [outside](../other/README.md)", 1),
            ("```\nlet f = |x: [u8; 2]| g[0](x);\n```", 0),
        ] {
            let tree = Tree::sample(&[("README.md", text), ("docs/install.md", "back [up](../README.md)")]);
            assert_eq!(check(&tree).len(), expected, "{text}");
        }
    }
}
