//! The storage of a stage: a filer, or a simulated array with data.

use anyhow::{Result, bail};
use filer_suite::{Filer, Simulator};
use serde_json::json;

pub(crate) enum Served<'a> {
    Filer(Filer<'a>),
    Array(Simulator<'a>),
}

impl Served<'_> {
    /// What its log is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Filer(_) => "filer",
            Self::Array(_) => "array",
        }
    }

    pub(crate) fn log(&self) -> String {
        match self {
            Self::Filer(filer) => filer.log(),
            Self::Array(array) => array.log(),
        }
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&self) {
        match self {
            Self::Filer(filer) => filer.kill(),
            Self::Array(array) => array.kill(),
        }
    }

    pub(crate) fn start(&self) -> Result<()> {
        match self {
            Self::Filer(filer) => filer.start(),
            Self::Array(array) => array.start(),
        }
    }

    /// What its machine needs after its power came back.
    pub(crate) fn prepare(&self) -> Result<()> {
        match self {
            Self::Filer(filer) => filer.prepare(),
            Self::Array(array) => {
                array.prepare();
                Ok(())
            }
        }
    }

    /// `takeover` of the first controller by the second, or `giveback`.
    pub(crate) fn fail_over(&self, what: &str) -> Result<()> {
        let Self::Array(array) = self else { bail!("a filer has one controller") };
        let path = format!("/private/cli/storage/failover/{what}");
        array.ask("POST", &path, Some(&json!({ "ofnode": "cluster1-01" }))).map(drop)
    }
}
