//! Builds this checkout in the shared cache, and brings its executables home.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::checkout::Checkout;
use crate::suites::Suite;

/// Artefacts of this workspace's own crates older than this are removed from a shared cache: each checkout has its
/// own, and nobody else would ever remove those of a checkout that is gone.
const KEEP: Duration = Duration::from_secs(2 * 24 * 60 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests and the demo.
    Dev,
    /// For measuring.
    Release,
}

/// Builds the named programs of the workspace. They lie at [`Checkout::bin`] afterwards.
pub(crate) fn programs(checkout: &Checkout, profile: Profile, names: &[&str]) -> Result<()> {
    let mut arguments = vec!["--workspace"];
    arguments.extend(names.iter().flat_map(|name| ["--bin", name]));
    if profile == Profile::Release {
        arguments.push("--release");
    }
    build(checkout, &arguments)?;
    Ok(())
}

/// Builds every program, test and example of the workspace, in one go so that dependencies are compiled once.
pub(crate) fn everything(checkout: &Checkout) -> Result<Vec<Suite>> {
    build(checkout, &["--workspace", "--bins", "--tests", "--examples"])
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<BuiltAs>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct BuiltAs {
    test: bool,
}

fn build(checkout: &Checkout, arguments: &[&str]) -> Result<Vec<Suite>> {
    // Held until the programs are home: another checkout's build would put its own in their place.
    let cache = Cache::lock(checkout)?;
    cache.prune()?;
    cache.hand_over(checkout)?;

    eprintln!("building; the first time takes some minutes");
    let mut cargo = checkout.cargo();
    cargo.args(["build", "--locked", "--message-format", "json-render-diagnostics"]).args(arguments);
    if !std::io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("cargo did not start")?;
    ensure!(output.status.success(), "the build failed");

    let mut suites = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Message = serde_json::from_str(line).with_context(|| format!("cargo said: {line}"))?;
        let (Some(target), Some(profile), Some(executable)) =
            (message.target, message.profile, message.executable)
        else {
            continue;
        };
        if message.reason != "compiler-artifact" {
            continue;
        }
        if profile.test {
            let manifest = message.manifest_path.context("an artefact of no package")?;
            let folder = manifest.parent().context("a manifest in no folder")?.to_path_buf();
            suites.push(Suite { name: suite_name(checkout, &folder, &target), executable, folder });
        } else if target.kind.iter().any(|kind| kind == "bin") {
            bring_home(&executable, &checkout.bin(&target.name))?;
        }
    }
    Ok(suites)
}

/// `crates/model`, `tests/docker/faults`, `crates/leister/bin`.
fn suite_name(checkout: &Checkout, folder: &Path, target: &Target) -> String {
    let folder = folder.strip_prefix(&checkout.root).unwrap_or(folder).display();
    match target.kind.first().map(String::as_str) {
        Some("test") => format!("{folder}/{}", target.name),
        Some("bin") => format!("{folder}/bin {}", target.name),
        _ => folder.to_string(),
    }
}

/// A link where possible: cargo replaces its own file by a new one and never writes into it.
fn bring_home(built: &Path, home: &Path) -> Result<()> {
    let folder = home.parent().context("a program without a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if home.exists() {
        std::fs::remove_file(home).with_context(|| format!("cannot replace {}", home.display()))?;
    }
    std::fs::hard_link(built, home)
        .or_else(|_| std::fs::copy(built, home).map(drop))
        .with_context(|| format!("cannot copy {} to {}", built.display(), home.display()))
}

/// The folder cargo builds in, locked while this lives.
struct Cache {
    folder: PathBuf,
    /// Names of this workspace's crates as they stand in artefacts: `docker_suite`.
    crates: Vec<String>,
    _lock: File,
}

impl Cache {
    fn lock(checkout: &Checkout) -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: PathBuf,
            packages: Vec<Package>,
        }
        #[derive(Deserialize)]
        struct Package {
            name: String,
            targets: Vec<Target>,
        }
        let output = checkout
            .cargo()
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .output()
            .context("cargo did not start")?;
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cargo metadata wrote no JSON we know")?;
        let folder = metadata.target_directory;
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock =
            File::create(folder.join("leister.lock")).context("cannot make the lock of the build cache")?;
        lock.lock().context("cannot lock the build cache")?;
        let named = |package: Package| package.targets.into_iter().map(|t| t.name).chain([package.name]);
        let mut crates: Vec<_> =
            metadata.packages.into_iter().flat_map(named).map(|name| name.replace('-', "_")).collect();
        crates.sort();
        crates.dedup();
        Ok(Self { folder, crates, _lock: lock })
    }

    /// Has what another checkout has built, with the path of that one in it, built anew.
    ///
    /// Cargo tells checkouts apart by the times of their files alone: a file that is older than what the other one has
    /// built is never looked at again.
    fn hand_over(&self, checkout: &Checkout) -> Result<()> {
        let note = self.folder.join("leister.checkout");
        let here = checkout.root.as_os_str().as_encoded_bytes();
        if std::fs::read(&note).is_ok_and(|last| last == here) {
            return Ok(());
        }
        let mut git = Command::new("git");
        git.args(["grep", "--files-with-matches", "--fixed-strings", "CARGO_MANIFEST_DIR", "--", "*.rs"]);
        let found = git.current_dir(&checkout.root).output().context("git did not start")?;
        if !found.status.success() {
            // It knows no files of ours: the next build asks again.
            return Ok(());
        }
        for file in String::from_utf8_lossy(&found.stdout).lines() {
            let file = checkout.root.join(file);
            let touched = File::options().append(true).open(&file);
            touched
                .and_then(|file| file.set_modified(SystemTime::now()))
                .with_context(|| format!("cannot touch {}", file.display()))?;
        }
        std::fs::write(&note, here).with_context(|| format!("cannot write {}", note.display()))
    }

    fn prune(&self) -> Result<()> {
        let now = SystemTime::now();
        let old = |entry: &std::fs::DirEntry| {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEEP))
        };
        for part in ["debug/deps", "debug/.fingerprint", "release/deps", "release/.fingerprint"] {
            let Ok(entries) = self.folder.join(part).read_dir() else { continue };
            let entries = entries.filter_map(Result::ok);
            for entry in
                entries.filter(|entry| self.is_ours(&entry.file_name().to_string_lossy())).filter(old)
            {
                let path = entry.path();
                let removed =
                    if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                removed.with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// `libmodel-0123456789abcdef.rlib` is ours, `libmodel_of_others-…` is not.
    fn is_ours(&self, artefact: &str) -> bool {
        let Some((name, _hash)) = artefact.rsplit_once('-') else { return false };
        let name = name.replace('-', "_");
        let is = |name: &str| self.crates.binary_search_by(|known| known.as_str().cmp(name)).is_ok();
        is(&name) || name.strip_prefix("lib").is_some_and(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artefacts_of_this_workspace_are_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let lock = File::create(folder.path().join("lock")).unwrap();
        let deps = folder.path().join("debug/deps");
        std::fs::create_dir_all(&deps).unwrap();
        let crates = vec!["docker_suite".to_owned(), "model".to_owned()];
        let cache = Cache { folder: folder.path().to_path_buf(), crates, _lock: lock };
        let long_ago = SystemTime::now() - 2 * KEEP;
        for (name, at) in [
            ("libmodel-0123456789abcdef.rlib", long_ago),
            ("docker_suite-0123456789abcdef", long_ago),
            ("model-1123456789abcdef", SystemTime::now()),
            ("libserde-0123456789abcdef.rlib", long_ago),
            ("libmodel_checker-0123456789abcdef.rlib", long_ago),
        ] {
            File::create(deps.join(name)).unwrap().set_modified(at).unwrap();
        }

        cache.prune().unwrap();

        let mut left: Vec<_> = deps.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let expected = [
            "libmodel_checker-0123456789abcdef.rlib",
            "libserde-0123456789abcdef.rlib",
            "model-1123456789abcdef",
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_program_brought_home_stays_when_another_checkout_builds_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (built, home) = (folder.path().join("built"), folder.path().join("bin/home"));
        std::fs::write(&built, "mine").unwrap();
        bring_home(&built, &home).unwrap();
        std::fs::remove_file(&built).unwrap();
        std::fs::write(&built, "theirs").unwrap();
        assert_eq!(std::fs::read_to_string(&home).unwrap(), "mine");
        bring_home(&built, &home).unwrap();
        assert_eq!(std::fs::read_to_string(&home).unwrap(), "theirs");
    }
}
