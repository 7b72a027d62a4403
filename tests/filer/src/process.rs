//! The program under test in a guest.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rig::{Guest, Limit, Output};

/// Generous: the machine may be slow and loaded.
pub(crate) const LIMIT: Limit = Limit::from_secs(120);

/// The program: what `LEISTER_BIN` names, or what this workspace builds, built now if it is missing.
///
/// # Errors
/// It cannot be built, or there is no build folder.
pub fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("LEISTER_BIN") {
        return Ok(program.into());
    }
    let here = std::env::current_exe()?;
    let folder = here.ancestors().find(|folder| folder.join("deps").is_dir()).context("no build folder")?;
    let program = folder.join("leister");
    if !program.exists() {
        let built = Command::new("cargo").args(["build", "--package", "leister"]).status()?;
        ensure!(built.success(), "`cargo build --package leister` failed");
    }
    Ok(program)
}

/// One `leister` that runs in a guest until it is stopped, under a name of its own there.
#[derive(Debug, Clone)]
pub(crate) struct Process<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) name: String,
}

impl Process<'_> {
    /// Starts it in the background.
    pub(crate) fn start(&self, words: &str) -> Result<Output> {
        let (program, name) = (program()?, &self.name);
        let script = format!(
            "setsid -f sh -c 'echo $$ >/run/{name}.pid; exec {} {words}' </dev/null >>/rig/{name}.log 2>&1",
            program.display()
        );
        Ok(self.guest.exec(&script))
    }

    /// Sends it a signal and waits until it is gone.
    pub(crate) fn end(&self, signal: &str) -> Output {
        let name = &self.name;
        self.guest.exec_within(
            LIMIT,
            &format!(
                "read -r pid </run/{name}.pid && kill -{signal} $pid || exit
                while kill -0 $pid 2>/dev/null; do /run/bb/sleep 0.05; done"
            ),
        )
    }

    /// Everything it has logged, over all its starts.
    pub(crate) fn log(&self) -> String {
        let path = format!("/rig/{}.log", self.name);
        // The file is open in the guest, and nothing else would flush it.
        let _ = self.guest.exec(&format!("/run/bb/sync {path}"));
        let here = self.guest.share().join(format!("{}.log", self.name));
        std::fs::read_to_string(here).unwrap_or_default()
    }
}
