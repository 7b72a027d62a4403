//! Helm, which installs the chart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::programs::{cluster_version, fingerprint};
use docker_suite::run_within;
use go_suite::{Go, cache, lock, version};

const MODULE: &str = "helm.sh/helm/v3";
const LIMIT: Duration = Duration::from_secs(120);

/// The program.
#[derive(Debug, Clone)]
pub struct Helm(PathBuf);

impl Helm {
    /// Builds it where it is not there yet: some 3 minutes of two cores, once a user.
    ///
    /// # Errors
    /// It cannot be fetched or built.
    pub fn get() -> Result<Self> {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/helm");
        let cache = cache()?;
        let sum = fingerprint(&fs::read(module.join("go.mod"))?);
        let folder = cache.join(format!("helm-{}-{sum:016x}", version(&module, MODULE)?));
        // Two runs at once make it once.
        let _alone = lock(&cache, "helm")?;
        if !folder.exists() {
            // In place only when it is whole.
            let fresh = folder.with_extension("new");
            fs::create_dir_all(&fresh)?;
            Go::find(&cache)?.build(&module, "-s -w", &fresh, &[&format!("{MODULE}/cmd/helm")])?;
            fs::rename(&fresh, &folder)?;
        }
        Ok(Self(folder.join("helm")))
    }

    /// What it makes of a chart for a cluster like ours, without one.
    ///
    /// # Errors
    /// What it found wrong.
    pub fn template(&self, words: &[&str]) -> Result<String> {
        let version = format!("--kube-version={}", cluster_version()?);
        run_within(Command::new(&self.0).args(["template", &version]).args(words), LIMIT)?.ok()
    }

    pub(crate) fn program(&self) -> &Path {
        &self.0
    }
}
