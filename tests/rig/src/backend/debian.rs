//! Packages of Debian that a guest boots from, fetched by apt once for each user and kept in the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::run;

/// Of which release packages are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Release {
    /// The one that this machine is set up for.
    Own,
    /// Another one of the same archive.
    Named(&'static str),
}

/// The folder `NAME` in the cache whose name begins with `prefix`. Without one it is made by `fill`, which gets an empty
/// folder and says the name.
pub(super) fn cached(prefix: &str, fill: impl FnOnce(&Path) -> Result<String>) -> Result<PathBuf> {
    cached_in(&cache()?, prefix, fill)
}

fn cached_in(cache: &Path, prefix: &str, fill: impl FnOnce(&Path) -> Result<String>) -> Result<PathBuf> {
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("cannot lock the cache of kernels")?;
    // Two rigs that start at once fetch it once.
    lock.lock().context("cannot lock the cache of kernels")?;
    if let Some(home) = newest(cache, prefix) {
        return Ok(home);
    }
    let part = cache.join(format!("{prefix}.part"));
    empty(&part)?;
    let home = cache.join(fill(&part)?);
    fs::rename(&part, &home).with_context(|| format!("cannot rename {}", part.display()))?;
    Ok(home)
}

/// Downloads a package and unpacks it into a folder. What is said is its name with its version, as its file has it.
pub(super) fn unpack(release: Release, package: &str, folder: &Path) -> Result<String> {
    let apt = Apt::of(release, folder)?;
    apt.with_fresh_lists(|| run(apt.command("apt-get").args(["download", "-qq", package])))?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|end| end == "deb");
    let deb = entries(folder)?.into_iter().find(is_package).context("apt-get downloaded nothing")?;
    run(Command::new("dpkg").arg("-x").arg(&deb).arg(folder))?;
    fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
    apt.forget()?;
    Ok(deb.file_stem().unwrap_or_default().to_string_lossy().into_owned())
}

/// The package that a package of this machine's release stands for today.
pub(super) fn stands_for(package: &str) -> Result<String> {
    let apt = Apt::own(Path::new("/"));
    apt.with_fresh_lists(|| {
        let said = run(apt.command("apt-cache").args(["depends", package]))?;
        let found = said.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        found.map(str::to_owned).with_context(|| format!("apt knows no {package}"))
    })
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
}

/// How apt is called in a folder. For another release it has lists of its own there, and leaves this machine's alone.
struct Apt<'a> {
    folder: &'a Path,
    own_lists: Option<PathBuf>,
}

impl<'a> Apt<'a> {
    fn own(folder: &'a Path) -> Self {
        Self { folder, own_lists: None }
    }

    fn of(release: Release, folder: &'a Path) -> Result<Self> {
        let Release::Named(name) = release else { return Ok(Self::own(folder)) };
        let state = folder.join("apt");
        for part in ["lists", "cache"] {
            let part = state.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let sources = state.join("sources.list");
        fs::write(&sources, format!("deb {} {name} main\n", archive()?))
            .with_context(|| format!("cannot write {}", sources.display()))?;
        Ok(Self { folder, own_lists: Some(state) })
    }

    fn command(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.current_dir(self.folder);
        apt.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]);
        if let Some(state) = &self.own_lists {
            let at = |option: &str, name: &str| format!("{option}={}", state.join(name).display());
            apt.arg("-o").arg(at("Dir::Etc::SourceList", "sources.list"));
            apt.arg("-o").arg(at("Dir::State::Lists", "lists"));
            apt.arg("-o").arg(at("Dir::Cache", "cache"));
            apt.args(["-o", "Dir::Etc::SourceParts=-", "-o", "Dir::State::Status=/dev/null"]);
            apt.args(["-o", "Acquire::Languages=none"]);
        }
        apt
    }

    /// Does what needs lists; once more when they are old and name a package that is no more, or when there are none.
    fn with_fresh_lists<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        work().or_else(|_| run(self.command("apt-get").args(["update", "-qq"])).and_then(|_| work()))
    }

    fn forget(self) -> Result<()> {
        self.own_lists.map_or(Ok(()), |state| {
            fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))
        })
    }
}

/// Where this machine has Debian from.
fn archive() -> Result<String> {
    let apt = Apt::own(Path::new("/"));
    apt.with_fresh_lists(|| {
        let format = "$(ORIGIN)|$(LABEL) $(REPO_URI)";
        let mut targets = apt.command("apt-get");
        let said = run(targets.args(["indextargets", "--format", format, "Created-By: Packages"]))?;
        let found = said.lines().find_map(|line| line.strip_prefix("Debian|Debian "));
        found.map(str::to_owned).context("apt has no archive of Debian in its sources")
    })
}

/// `$XDG_CACHE_HOME/leister/kernel`, so that a fresh checkout fetches nothing again.
fn cache() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache =
        std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home);
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set; set one")?.join("leister/kernel"))
}

/// A complete one; what is being made has another name.
fn newest(cache: &Path, prefix: &str) -> Option<PathBuf> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && !name.ends_with(".part")
    };
    entries(cache).ok()?.into_iter().filter(is_ours).max()
}

/// Makes a folder, or makes it empty.
pub(super) fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_taken_and_what_was_begun_is_begun_anew() {
        let cache = tempfile::tempdir().unwrap();
        for name in ["linux-image-6.1", "user-mode-linux_6_amd64", "user-mode-linux.part"] {
            fs::create_dir(cache.path().join(name)).unwrap();
        }
        fs::write(cache.path().join("user-mode-linux.part/half"), "").unwrap();
        assert_eq!(newest(cache.path(), "linux-image"), Some(cache.path().join("linux-image-6.1")));
        let there = newest(cache.path(), "user-mode-linux");
        assert_eq!(there, Some(cache.path().join("user-mode-linux_6_amd64")));
        fs::remove_dir(there.unwrap()).unwrap();
        let home = cached_in(cache.path(), "user-mode-linux", |part| {
            assert!(entries(part).unwrap().is_empty());
            Ok("user-mode-linux_7_amd64".into())
        });
        assert_eq!(home.unwrap(), cache.path().join("user-mode-linux_7_amd64"));
        cached_in(cache.path(), "user-mode-linux", |_| panic!("it is there")).unwrap();
    }
}
