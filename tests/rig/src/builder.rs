//! What a rig shall be.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::rig::Rig;
use crate::size::Size;

/// One guest that shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSpec {
    pub(crate) name: String,
    pub(crate) memory: Size,
    pub(crate) disks: Vec<Size>,
}

/// Of the kernel and this rig's own; more is for what a test runs.
const LEAST_MEMORY: Size = Size::mib(96);

impl GuestSpec {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), memory: Size::mib(384), disks: Vec::new() }
    }

    /// Instead of 384 MiB. The guest's own files are in memory, too.
    #[must_use]
    pub fn memory(mut self, memory: Size) -> Self {
        self.memory = memory;
        self
    }

    /// Adds a disk, blank at first: `/dev/ubda`, `ubdb`… (uml), `/dev/vda`, `vdb`… (tcg).
    #[must_use]
    pub fn disk(mut self, size: Size) -> Self {
        self.disks.push(size);
        self
    }

    fn check(&self) -> Result<()> {
        let Self { name, memory, disks } = self;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !name.is_empty() && name.len() <= 63 && name.chars().all(fits) && !name.starts_with('-'),
            "guest name `{name}`: use up to 63 of a-z, 0-9 and `-`, as in a host name"
        );
        ensure!(
            name != "localhost" && name != "host",
            "guest name `{name}` means another machine; use another"
        );
        ensure!(
            *memory >= LEAST_MEMORY,
            "guest `{name}`: memory {memory} is too little; use {LEAST_MEMORY} or more"
        );
        ensure!(disks.len() <= 16, "guest `{name}`: {} disks are too many; use 16 or fewer", disks.len());
        Ok(())
    }
}

/// `name[:memory[:disk,disk…]]`, such as `storage:1G:8G,2G`.
impl FromStr for GuestSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let mut spec = Self::new(parts.next().unwrap_or_default());
        if let Some(memory) = parts.next().filter(|part| !part.is_empty()) {
            spec.memory = memory.parse().with_context(|| format!("memory of `{text}`"))?;
        }
        for disk in parts.next().filter(|part| !part.is_empty()).into_iter().flat_map(|part| part.split(','))
        {
            spec.disks.push(disk.parse().with_context(|| format!("disks of `{text}`"))?);
        }
        if parts.next().is_some() {
            bail!("guest `{text}`: write name[:memory[:disk,disk…]], such as `storage:1G:8G,2G`");
        }
        spec.check()?;
        Ok(spec)
    }
}

/// A rig that shall be.
#[derive(Debug, Default)]
pub struct Builder {
    pub(crate) guests: Vec<GuestSpec>,
    pub(crate) backend: Backend,
    pub(crate) leister: Option<PathBuf>,
    /// Where it shall be, so that another program finds it. It outlives this one then.
    pub(crate) folder: Option<PathBuf>,
}

impl Builder {
    /// Adds a guest; `shape` gives it memory and disks.
    #[must_use]
    pub fn guest(mut self, name: &str, shape: impl FnOnce(GuestSpec) -> GuestSpec) -> Self {
        self.guests.push(shape(GuestSpec::new(name)));
        self
    }

    #[must_use]
    pub fn guests(mut self, specs: impl IntoIterator<Item = GuestSpec>) -> Self {
        self.guests.extend(specs);
        self
    }

    /// Instead of user-mode Linux.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// The program whose `doctor` is asked in each guest when a test fails.
    #[must_use]
    pub fn leister(mut self, program: impl Into<PathBuf>) -> Self {
        self.leister = Some(program.into());
        self
    }

    /// Leaves the rig in a new folder, running after this process until [`Rig::down`].
    #[must_use]
    pub fn detached_at(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Boots all guests at once, and waits until they take commands.
    ///
    /// # Errors
    /// When the wish makes no sense, when this machine cannot do it (see [`Rig::available`]), and when a guest does not
    /// come up; the message has the end of its console.
    pub fn up(self) -> Result<Rig> {
        ensure!(!self.guests.is_empty(), "a rig has at least one guest");
        ensure!(self.guests.len() <= 200, "{} guests are too many; use 200 or fewer", self.guests.len());
        for (at, guest) in self.guests.iter().enumerate() {
            guest.check()?;
            let twin = self.guests[..at].iter().any(|other| other.name == guest.name);
            ensure!(!twin, "two guests are named `{}`; give each its own name", guest.name);
        }
        Rig::available(self.backend).map_err(anyhow::Error::msg)?;
        Rig::up(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_described_by_name_memory_and_disks() {
        let plain: GuestSpec = "node1".parse().unwrap();
        assert_eq!(plain, GuestSpec::new("node1"));
        let disks: GuestSpec = "node1::2G".parse().unwrap();
        assert_eq!(disks, GuestSpec::new("node1").disk(Size::gib(2)));
        let storage: GuestSpec = "storage:1G:8G,512M".parse().unwrap();
        let wanted = GuestSpec::new("storage").memory(Size::gib(1)).disk(Size::gib(8)).disk(Size::mib(512));
        assert_eq!(storage, wanted);
    }

    #[test]
    fn a_guest_that_cannot_be_is_refused_by_name_and_value() {
        for (text, says) in [
            ("", "guest name ``"),
            ("Node_1", "`Node_1`"),
            ("localhost", "another machine"),
            ("n:1", "size `1`"),
            ("n:16M", "too little"),
            ("n:1G:", ""),
            ("n:1G:8", "size `8`"),
            ("n:1G:8G:x", "name[:memory"),
        ] {
            match text.parse::<GuestSpec>() {
                Err(error) => {
                    assert!(format!("{error:#}").contains(says) && !says.is_empty(), "{text}: {error:#}")
                }
                Ok(_) => assert!(says.is_empty(), "{text}"),
            }
        }
    }

    #[test]
    fn two_guests_of_one_name_are_refused_before_anything_starts() {
        let error = Rig::builder().guest("n", |g| g).guest("n", |g| g).up().err().unwrap();
        assert!(error.to_string().contains("two guests are named `n`"), "{error}");
    }
}
