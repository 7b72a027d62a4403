//! The tree as the rules see it: packages with their edges, and the text of every file git would keep.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::checkout::Checkout;

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) packages: Vec<Package>,
    pub(super) files: Vec<File>,
}

#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    /// Its folder, relative to the root: `crates/model`.
    pub(super) folder: String,
    pub(super) edges: Vec<Edge>,
}

/// A dependency on another package of this workspace.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) to: String,
    /// Only tests, benches and examples use it.
    pub(super) for_tests: bool,
}

#[derive(Debug, Clone)]
pub(super) struct File {
    /// Relative to the root.
    pub(super) path: String,
    pub(super) text: String,
}

impl Tree {
    pub(super) fn read(checkout: &Checkout) -> Result<Self> {
        Ok(Self { packages: packages(checkout)?, files: files(&checkout.root)? })
    }

    #[cfg(test)]
    pub(super) fn sample(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() });
        Self { files: files.collect(), packages: Vec::new() }
    }
}

impl File {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Nothing but tests is in it: `tests.rs`, `x/tests/y.rs` of a module, or a package's `tests/`.
    pub(super) fn is_tests(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || (self.path.contains("/tests/") && !self.path.contains("/tests/src/"))
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn packages(checkout: &Checkout) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        name: String,
        manifest_path: String,
        dependencies: Vec<Dependency>,
    }
    #[derive(Deserialize)]
    struct Dependency {
        name: String,
        kind: Option<String>,
        path: Option<String>,
    }

    let mut cargo = checkout.cargo();
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Metadata =
        serde_json::from_slice(&output(&mut cargo)?).context("cargo metadata wrote no JSON we know")?;
    let package = |listed: Listed| {
        let folder = Path::new(&listed.manifest_path).parent()?.strip_prefix(&checkout.root).ok()?;
        let inside = listed.dependencies.into_iter().filter(|dependency| dependency.path.is_some());
        let edge = |d: Dependency| Edge { to: d.name, for_tests: d.kind.as_deref() == Some("dev") };
        Some(Package {
            name: listed.name,
            folder: folder.to_str()?.to_owned(),
            edges: inside.map(edge).collect(),
        })
    };
    metadata
        .packages
        .into_iter()
        .map(|listed| package(listed).context("a package lies outside the workspace"))
        .collect()
}

/// What git keeps or would keep, so that a new file is checked before its first commit.
fn files(root: &Path) -> Result<Vec<File>> {
    let mut git = Command::new("git");
    // The checkout may belong to another user than the one who builds it.
    git.current_dir(root).args(["-c", "safe.directory=*"]);
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = String::from_utf8(output(&mut git)?).context("a file name is not UTF-8")?;
    // A file may be deleted but still listed; binary files have no text to check.
    Ok(listed
        .split_terminator('\0')
        .filter_map(|path| {
            Some(File { path: path.into(), text: std::fs::read_to_string(root.join(path)).ok()? })
        })
        .collect())
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{command:?} did not start"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
