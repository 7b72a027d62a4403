//! How a crate is laid out: shared lints, a sentence saying what it is, `foo.rs` beside `foo/`.

use super::Finding;
use super::tree::{File, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter_map(check_file).collect()
}

fn check_file(file: &File) -> Option<Finding> {
    let name = file.path.rsplit('/').next()?;
    if name == "mod.rs" {
        return Some(Finding::wrong(&file.path, "name it after its folder: `foo.rs` beside `foo/`"));
    }
    if name == "Cargo.toml" && file.text.contains("[package]") && !shares_lints(&file.text) {
        return Some(Finding::wrong(&file.path, "add `[lints] workspace = true`"));
    }
    let is_root = file.path.ends_with("/src/lib.rs")
        || file.path.ends_with("/src/main.rs")
        || file.path.contains("/src/bin/");
    if is_root && !file.text.lines().any(|line| line.starts_with("//! ")) {
        return Some(Finding::wrong(&file.path, "begin with `//!` and a sentence saying what this is"));
    }
    None
}

fn shares_lints(manifest: &str) -> bool {
    let lines: Vec<_> = manifest.lines().map(str::trim).collect();
    lines.contains(&"lints.workspace = true")
        || lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_laid_out_otherwise_is_found() {
        for (path, text, expected) in [
            ("crates/a/src/b/mod.rs", "", 1),
            ("crates/a/src/b.rs", "", 0),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n", 1),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n", 0),
            ("crates/a/Cargo.toml", "[package]\nlints.workspace = true\n", 0),
            ("Cargo.toml", "[workspace]\n", 0),
            ("crates/a/src/lib.rs", "pub mod b;\n", 1),
            ("crates/a/src/lib.rs", "//! What it is.\n", 0),
            ("crates/a/src/bin/c.rs", "fn main() {}\n", 1),
        ] {
            assert_eq!(check(&Tree::sample(&[(path, text)])).len(), expected, "{path}: {text:?}");
        }
    }
}
