//! An application that knows what it was promised.

use anyhow::Result;
use rig::{Guest, Job};

use crate::process::LIMIT;

/// Appends numbers to a file, each flushed before the next, and notes elsewhere which have been acknowledged.
#[derive(Debug)]
pub struct Writer<'a> {
    guest: &'a Guest,
    job: Option<Job>,
    file: String,
    notes: String,
}

/// What became of a writer's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub acknowledged: u64,
    /// Numbers that were acknowledged and are not in the file as they were written.
    pub lost: u64,
    /// Writes that failed and were repeated.
    pub errors: u64,
}

/// Ends when told, and only then: what fails it opens again and repeats.
const WRITER: &str = include_str!("writer.pl");

impl<'a> Writer<'a> {
    /// Starts writing, and waits for the first number.
    ///
    /// # Errors
    /// When the guest is down.
    ///
    /// # Panics
    /// When nothing is written in time.
    pub fn start(guest: &'a Guest, name: &str, file: &str) -> Result<Self> {
        let notes = format!("/run/writer-{name}");
        let script = format!("perl - {file} {notes} <<'PERL'\n{WRITER}\nPERL");
        guest.exec(&format!("rm -f {notes}*; : >{notes}.errors")).ok("nothing of an earlier one");
        let job = guest.spawn(&script)?;
        let writer = Self { guest, job: Some(job), file: file.to_owned(), notes };
        writer.goes_on_after(0);
        Ok(writer)
    }

    /// The last number that was acknowledged.
    ///
    /// # Panics
    /// When the guest does not say.
    pub fn acknowledged(&self) -> u64 {
        let last = self.guest.exec(&format!("cat {}.last", self.notes)).ok("the writer's notes");
        last.trim().parse().unwrap_or_default()
    }

    /// Waits until a later number than this one is acknowledged, and returns it.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn goes_on_after(&self, number: u64) -> u64 {
        let look = format!("[ \"$(cat {}.last)\" -gt {number} ]", self.notes);
        let seen = self.guest.wait_for(&look, 2 * LIMIT);
        assert!(seen.is_ok(), "{} is not written after {number}: {}", self.file, self.errors_said());
        self.acknowledged()
    }

    /// Ends it, and compares the file with what was acknowledged.
    ///
    /// # Panics
    /// When it does not end, or the file cannot be read.
    #[track_caller]
    pub fn end(mut self) -> Written {
        self.guest.exec(&format!("touch {}.stop", self.notes)).ok("stop");
        if let Some(job) = self.job.take() {
            job.wait(2 * LIMIT).ok("the writer ends");
        }
        let (acknowledged, file) = (self.acknowledged(), &self.file);
        let count = format!(
            "perl -ne 'chomp; $seen{{$_+0}} = 1 if /^\\d{{8}}$/; END {{ print scalar grep {{ !$seen{{$_}} }} 1 .. {acknowledged} }}' {file}"
        );
        let lost = self.guest.exec_within(LIMIT, &count).ok("what was written");
        let errors = self.errors_said().lines().count() as u64;
        Written { acknowledged, lost: lost.trim().parse().unwrap_or(u64::MAX), errors }
    }

    /// What failed, a line each.
    pub fn errors_said(&self) -> String {
        self.guest.exec(&format!("cat {}.errors", self.notes)).stdout
    }
}
