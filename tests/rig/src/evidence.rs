//! What is kept of a rig on which a test failed.
#![allow(clippy::print_stderr, reason = "speaks to whoever reads of a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::guest::{Guest, quoted};
use crate::rig::Rig;

/// A guest that is broken may never answer.
const LIMIT: Duration = Duration::from_secs(20);

const LINES: usize = 30;

/// Keeps a rig's evidence when it is dropped by a panic: for a rig that several tests share.
#[derive(Debug)]
pub struct Watch<'a>(&'a Rig);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            keep_and_tell(self.0);
        }
    }
}

impl Watch<'_> {
    /// Keeps it as well if a test ends by an error.
    ///
    /// # Errors
    /// The test's own.
    pub fn over<T, E>(self, test: impl FnOnce() -> std::result::Result<T, E>) -> std::result::Result<T, E> {
        test().inspect_err(|_| keep_and_tell(self.0))
    }
}

impl Rig {
    /// Keeps this rig's evidence if a panic passes by.
    pub fn watch(&self) -> Watch<'_> {
        Watch(self)
    }

    /// Keeps each guest's console, kernel log, `leister doctor` and all files of its shared folder in a new folder for
    /// temporary files, and returns its path.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn keep_evidence(&self) -> Result<PathBuf> {
        let kept =
            tempfile::Builder::new().prefix("evidence-").tempdir().context("cannot make a folder")?.keep();
        for guest in &self.guests {
            let folder = kept.join(guest.name());
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            if guest.is_up() && !guest.is_stopped() {
                self.ask(guest, &folder)?;
            }
            copy(&guest.console(), &folder.join("console"))?;
            copy_folder(&guest.share(), &folder.join("rig"))?;
        }
        Ok(kept)
    }

    fn ask(&self, guest: &Guest, folder: &Path) -> Result<()> {
        let doctor = self.world.leister.as_ref().map(|program| {
            let program = quoted(&program.to_string_lossy());
            ("doctor", format!("[ ! -x {program} ] || {program} doctor"))
        });
        for (name, script) in [("dmesg", "dmesg".to_owned())].into_iter().chain(doctor) {
            let said = guest.exec_within(LIMIT, &script);
            let text = format!("{}{}", said.stdout, said.stderr);
            fs::write(folder.join(name), text).with_context(|| format!("cannot keep {name}"))?;
        }
        Ok(())
    }
}

pub(crate) fn keep_and_tell(rig: &Rig) {
    let kept = match rig.keep_evidence() {
        Ok(kept) => kept,
        Err(error) => return tell(&format!("cannot keep the evidence: {error:#}")),
    };
    for guest in &rig.guests {
        let state = match (guest.is_up(), guest.is_stopped()) {
            (false, _) => "down",
            (_, true) => "stopped",
            _ => "up",
        };
        tell(&format!("guest {} is {state}", guest.name()));
        for name in ["console", "dmesg", "doctor"] {
            let text = fs::read(kept.join(guest.name()).join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            if !lines.is_empty() {
                let tail = lines[lines.len().saturating_sub(LINES)..].join("\n  ");
                tell(&format!("the end of {name} of {}:\n  {tail}", guest.name()));
            }
        }
    }
    tell(&format!("kept for each guest in {}: console, dmesg, doctor, and its folder /rig", kept.display()));
}

pub(crate) fn tell(what: &str) {
    eprintln!("rig: {what}");
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot keep {}", from.display()))
}

/// Plain files only; a guest may have left anything there.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
    for entry in entries.filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_folder(&entry.path(), &to.join(entry.file_name()))?,
            Ok(kind) if kind.is_file() => copy(&entry.path(), &to.join(entry.file_name()))?,
            _ => {}
        }
    }
    Ok(())
}
