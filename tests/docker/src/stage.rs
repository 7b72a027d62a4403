//! An engine with one instance beside it: what most tests start with.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::engine::{Engine, IMAGE};
use crate::leister::{Leister, LeisterSpec};
use crate::said::Said;

/// Dropping it removes its containers, then stops the instance, then lets go of the engine.
pub struct Stage {
    pub leister: Leister,
    folder: TempDir,
    pub engine: Arc<Engine>,
}

impl Stage {
    /// Starts an instance on the engine that the tests of one executable share.
    ///
    /// # Errors
    /// When the engine or the instance does not come up.
    pub fn new() -> Result<Self> {
        Self::on(Engine::shared()?, |_| {})
    }

    /// Starts an instance on an engine of its own: an engine whose plugin is killed keeps others waiting.
    ///
    /// # Errors
    /// When the engine or the instance does not come up.
    pub fn alone() -> Result<Self> {
        Self::on(Arc::new(Engine::start()?), |_| {})
    }

    /// Starts an instance with changes to how it is started.
    ///
    /// # Errors
    /// When the instance does not come up.
    pub fn on(engine: Arc<Engine>, change: impl FnOnce(&mut LeisterSpec)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("l-").tempdir_in(engine.folder())?;
        let mut spec = LeisterSpec::new(folder.path(), &engine.plugins());
        change(&mut spec);
        Ok(Self { leister: spec.start()?, folder, engine })
    }

    /// A folder for files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a shell command in a new container that sees one volume at `/data`.
    ///
    /// # Errors
    /// When `docker` does not start or hangs; not when the command fails.
    pub fn shell(&self, volume: &str, command: &str) -> Result<Said> {
        let mount = format!("{volume}:/data");
        let label = self.label();
        let words =
            ["run", "--rm", "--network=none", "--label", &label, "-v", &mount, IMAGE, "sh", "-c", command];
        self.engine.docker(&words)
    }

    /// Starts a container that runs a shell command in the background and sees one volume at `/data`.
    ///
    /// # Errors
    /// When the container does not start.
    pub fn background(&self, name: &str, volume: &str, command: &str) -> Result<()> {
        let mount = format!("{volume}:/data");
        let label = self.label();
        let mut words =
            vec!["run", "-d", "--network=none", "--name", name, "--label", &label, "-v", &mount, IMAGE];
        words.extend(["sh", "-c", command]);
        self.engine.docker(&words)?.ok().map(drop)
    }

    /// Creates a volume as a Docker user does: `docker volume create -d <instance> -o …`.
    ///
    /// # Errors
    /// When `docker` does not start or hangs; not when it is refused.
    pub fn create(&self, volume: &str, options: &[&str]) -> Result<Said> {
        let mut words = vec!["volume", "create", "-d", self.leister.name()];
        words.extend(options.iter().flat_map(|option| ["-o", option]));
        words.push(volume);
        self.engine.docker(&words)
    }

    /// What `docker volume inspect` shows under `Status`.
    ///
    /// # Errors
    /// When there is no such volume.
    pub fn status(&self, volume: &str) -> Result<Value> {
        let text =
            self.engine.docker(&["volume", "inspect", "--format", "{{json .Status}}", volume])?.ok()?;
        Ok(serde_json::from_str(&text)?)
    }

    /// How many containers have the volume mounted, as the plugin counts them.
    ///
    /// # Errors
    /// When there is no such volume.
    pub fn mount_count(&self, volume: &str) -> Result<u64> {
        self.status(volume)?["mounts"].as_u64().context("`Status` has no `mounts`")
    }

    /// What the API says of one volume.
    ///
    /// # Errors
    /// When there is no such volume.
    pub fn view(&self, volume: &str) -> Result<Value> {
        let volumes = self.leister.list("volumes")?;
        let found = volumes.into_iter().find(|view| view["name"] == volume);
        found.with_context(|| format!("no volume `{volume}` is listed"))
    }

    /// Ends a test: nothing in the log but what was expected.
    ///
    /// # Errors
    /// When the instance complained of something else.
    pub fn finish(self, expected: &[&str]) -> Result<()> {
        let complaints = self.leister.complaints(expected);
        ensure!(complaints.is_empty(), "unexpected in the log:\n{}", complaints.join("\n"));
        Ok(())
    }

    fn label(&self) -> String {
        format!("instance={}", self.leister.name())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let filter = format!("label={}", self.label());
        if let Ok(said) = self.engine.docker(&["ps", "--all", "--quiet", "--filter", &filter])
            && !said.out.is_empty()
        {
            let containers = said.out.lines();
            let words: Vec<_> = ["rm", "--force"].into_iter().chain(containers).collect();
            let _ = self.engine.docker(&words);
        }
    }
}
