//! `csi-sanity`, the test suite of the CSI project.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{Go, cache, lock, version};

const MODULE: &str = "github.com/kubernetes-csi/csi-test/v5";
/// Why a test may be skipped: the plugin does not claim what it is about, or nobody has set the limit that it needs.
const NOT_CLAIMED: [&str; 2] =
    ["SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported", "testnodevolumeattachlimit not enabled"];

/// The program.
#[derive(Debug, Clone)]
pub struct Sanity(PathBuf);

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub passed: usize,
    pub ran: usize,
    pub skipped: usize,
}

impl Sanity {
    /// Builds it where it is not there yet.
    ///
    /// # Errors
    /// It cannot be fetched or built.
    pub fn get() -> Result<Self> {
        let cache = cache()?;
        let folder = cache.join(format!("sanity-{}", version(&module(), MODULE)?));
        let _alone = lock(&cache, "csi-sanity")?;
        if !folder.is_dir() {
            // In place only when it is whole.
            let fresh = folder.with_extension("new");
            fs::create_dir_all(&fresh)?;
            let package = format!("{MODULE}/cmd/csi-sanity");
            Go::find(&cache)?.build(&module(), "-s -w", &fresh, &[&package])?;
            fs::rename(&fresh, &folder)?;
        }
        Ok(Self(folder.join("csi-sanity")))
    }

    pub fn program(&self) -> &Path {
        &self.0
    }

    /// The words for a plugin at `socket`: volumes of small sizes as `mount` or `block`, all else below `folder`, the
    /// report in `report.json` there.
    pub fn words(&self, socket: &str, access: &str, folder: &str) -> Vec<String> {
        let word = |name: &str, value: &str| format!("--csi.{name}={value}");
        vec![
            "--ginkgo.no-color".to_owned(),
            format!("--ginkgo.json-report={folder}/report.json"),
            word("endpoint", &format!("unix://{socket}")),
            word("testvolumeaccesstype", access),
            word("testvolumesize", "16777216"),
            word("testvolumeexpandsize", "33554432"),
            word("mountdir", &format!("{folder}/mount")),
            word("stagingdir", &format!("{folder}/staging")),
        ]
    }
}

impl Judged {
    /// Reads a report.
    ///
    /// # Errors
    /// A test failed, or was skipped though the plugin claims what it is about, or hardly any ran.
    pub fn read(report: &str) -> Result<Self> {
        let report: Value = serde_json::from_str(report).context("the report is no JSON")?;
        let specs = report[0]["SpecReports"].as_array().context("the report has no tests")?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        // Set-up of the whole is no test.
        for spec in specs.iter().filter(|spec| spec["LeafNodeType"] == "It") {
            let state = spec["State"].as_str().unwrap_or_default().to_owned();
            let (name, reason) =
                (&spec["LeafNodeText"], spec["Failure"]["Message"].as_str().unwrap_or_default());
            if state == "skipped" {
                ensure!(NOT_CLAIMED.contains(&reason), "skipped, though claimed: {name}: {reason}");
            }
            ensure!(state != "failed", "{name}: {reason}");
            *counts.entry(state).or_default() += 1;
        }
        let count = |state: &str| counts.get(state).copied().unwrap_or(0);
        let (passed, skipped) = (count("passed"), count("skipped"));
        let ran = counts.values().sum::<usize>() - skipped - count("pending");
        ensure!(passed == ran && passed > 60, "{counts:?}");
        Ok(Self { passed, ran, skipped })
    }
}

pub(crate) fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sanity")
}
