//! What lies on a device: seen, made by the rule in `format`, checked, mounted on the stage, grown.

use std::path::Path;
use std::sync::Arc;

use model::{Bytes, Filesystem};

use super::encryption;
use super::format::{self, Content, Evidence, FormatRecord, Next, Phase};
use super::{Places, Unwritten, check_read_only, make_directory, set_mode};
use crate::device::block::Block;
use crate::device::proof;
use crate::encryption::Passphrases;
use crate::error::{Doing, HostError, Result};
use crate::filesystem::{self, Probe, Superblock, Tools};
use crate::host::{Attached, Attachment};
use crate::lock::blocking;
use crate::mount::{self, Options, Table};

/// How much of a device's end a filesystem may leave unused without being too small.
const SLACK: Bytes = Bytes::mib(16);

/// Extends the filesystem of the stage to its device, which has grown to `size`.
pub(super) async fn grow(
    places: &Places,
    filesystem: &str,
    device: &Path,
    size: Bytes,
    passphrases: Option<&Passphrases>,
    tools: &Tools,
) -> Result<()> {
    let decrypted = encryption::grow(places, passphrases, tools).await?;
    let (device, size) = decrypted.unwrap_or_else(|| (device.to_owned(), size));
    let filesystem: Filesystem = filesystem.parse().map_err(|problem| HostError::Unsupported {
        volume: places.volume.clone(),
        problem: format!("its filesystem cannot be grown: {problem}"),
    })?;
    let stage = places.stage();
    let volume = places.volume.clone();
    if let Some(hindrance) = filesystem::hindrance(filesystem) {
        let problem = format!("its device has grown to {size} but not its filesystem: {hindrance}");
        return Err(HostError::Unsupported { volume, problem });
    }
    filesystem::grow(tools, filesystem, &device, &stage).await?;
    blocking(&tools.hold, move || {
        let found = spans(filesystem, &device, &stage)?;
        if found + SLACK < size {
            return Err(HostError::Size { volume, wanted: size, found, at: stage });
        }
        Ok(())
    })
    .await
}

/// Everything about one attach of a device with a filesystem.
pub(super) struct Volume<'a> {
    pub(super) places: &'a Places,
    pub(super) wanted: &'a Attachment,
    pub(super) filesystem: Filesystem,
    pub(super) device: Arc<Block>,
    pub(super) tools: &'a Tools,
}

impl Volume<'_> {
    pub(super) async fn stage(&self, options: Options) -> Result<Attached> {
        let (filesystem, asked, stage) = (self.filesystem, options.clone(), self.places.stage());
        let check = move || match Table::read()?.at(&stage) {
            None => mount::check(filesystem.as_str(), &asked),
            Some(_) => Ok(()),
        };
        blocking(&self.tools.hold, check).await?;
        let Some(passphrases) = &self.wanted.encryption else { return self.stage_content(options).await };
        let unlocked = encryption::unlock(self, passphrases).await;
        let staged = match unlocked {
            Ok(device) => Volume { device, ..*self }.stage_content(options).await,
            Err(error) => Err(error),
        };
        if staged.is_err() && Table::read()?.at(&self.places.stage()).is_none() {
            // What is below cannot go while this is open; the error that matters is the one at hand.
            let closed = encryption::close(self.places, Unwritten::IsWritten, self.tools).await;
            if let Err(error) = closed.and_then(|()| super::remove_empty(&self.places.directory())) {
                tracing::warn!(volume = %self.places.volume, %error, "its decrypted device stays behind");
            }
        }
        staged
    }

    async fn stage_content(&self, options: Options) -> Result<Attached> {
        let formatted = if self.is_staged().await? {
            false
        } else {
            let formatted = self.ensure_filesystem().await?;
            // What was made this instant needs no repair.
            if !formatted && !self.wanted.read_only {
                filesystem::check(self.tools, self.filesystem, &self.device.path()).await?;
            }
            self.mount(options).await?;
            formatted
        };
        self.fill_device().await?;
        let (stage, wanted) = (self.places.stage(), self.wanted.clone());
        let path = stage.clone();
        let directory = self.places.directory();
        blocking(&self.tools.hold, move || {
            set_mode(&stage, &wanted)?;
            if wanted.staged_before { FormatRecord::remove(&directory) } else { Ok(()) }
        })
        .await?;
        Ok(Attached::Directory { path, formatted })
    }

    async fn is_staged(&self) -> Result<bool> {
        let (places, device, wanted) = (self.places.clone(), self.device.path(), self.wanted.clone());
        blocking(&self.tools.hold, move || {
            let table = Table::read()?;
            let Some(staged) = table.at(&places.stage()) else { return Ok(false) };
            if *staged.source != *device {
                return Err(HostError::Conflict {
                    volume: places.volume.clone(),
                    problem: format!(
                        "{} is mounted where {} should be; unmount all of it and detach it first",
                        staged.source.display(),
                        device.display()
                    ),
                });
            }
            check_read_only(&places, staged, wanted.read_only)?;
            Ok(true)
        })
        .await
    }

    /// Sees that the wanted filesystem is on the device; makes it only by the rule in `format`.
    async fn ensure_filesystem(&self) -> Result<bool> {
        let path = self.device.path();
        let probe = filesystem::probe(self.tools, &path).await?;
        let next = self.decide(probe).await?;
        let formatted = match next {
            Next::Use => false,
            Next::Format { over_remains } => {
                self.record(Phase::Begun).await?;
                let options = &self.wanted.format_options;
                filesystem::make(self.tools, self.filesystem, &path, options, over_remains).await?;
                let (filesystem, device) = (self.filesystem, self.device.clone());
                let fits = blocking(&self.tools.hold, move || Ok(check_fits(filesystem, &device)));
                fits.await?.map_err(|reason| self.refused(format!("it was formatted, but {reason}")))?;
                self.record(Phase::Done).await?;
                true
            }
        };
        Ok(formatted)
    }

    async fn decide(&self, probe: Probe) -> Result<Next> {
        let (device, directory) = (self.device.clone(), self.places.directory());
        let (wanted, filesystem, volume) = (self.wanted.clone(), self.filesystem, self.places.volume.clone());
        blocking(&self.tools.hold, move || {
            let refused =
                |reason| HostError::Refused { volume: volume.clone(), device: device.path(), reason };
            let record = FormatRecord::read(&directory)?.filter(|r| r.subject == device.subject());
            let sight = see(&device, &probe).map_err(|e| {
                refused(format!("it could not be read whole ({e}), so it is not known what it holds"))
            })?;
            let evidence = Evidence {
                wanted: Content::Filesystem(filesystem),
                read_only: wanted.read_only,
                staged_before: wanted.staged_before,
                may_hold_data: wanted.may_hold_data,
                phase: record.as_ref().and_then(|r| r.phase_of(filesystem, device.luks())),
                probe: &probe,
                sight,
            };
            let next = format::next(&evidence).map_err(refused)?;
            if next == Next::Use {
                check_fits(filesystem, &device).map_err(refused)?;
            } else if device.open_alone()?.is_none() {
                return Err(refused("something else uses it at this moment".to_owned()));
            }
            Ok(next)
        })
        .await
    }

    async fn record(&self, phase: Phase) -> Result<()> {
        let (subject, filesystem) = (self.device.subject(), self.filesystem);
        let record = match (self.device.luks(), phase) {
            (None, _) => FormatRecord::new(subject, filesystem, phase),
            // Begun behind a header: that it is there is what counts.
            (Some(uuid), Phase::Begun) => {
                FormatRecord::encrypted(subject, filesystem, Phase::Encrypted, uuid)
            }
            (Some(uuid), _) => FormatRecord::encrypted(subject, filesystem, phase, uuid),
        };
        let directory = self.places.directory();
        blocking(&self.tools.hold, move || {
            make_directory(&directory)?;
            record.write(&directory)
        })
        .await
    }

    async fn mount(&self, mut options: Options) -> Result<()> {
        for needed in filesystem::needed_options(self.filesystem) {
            if !options.filesystem.iter().any(|(word, _)| word == needed) {
                options.filesystem.push(((*needed).to_owned(), None));
            }
        }
        let (device, stage, filesystem) = (self.device.path(), self.places.stage(), self.filesystem);
        blocking(&self.tools.hold, move || {
            make_directory(&stage)?;
            mount::device(&device, filesystem.as_str(), &options, &stage)
        })
        .await
    }

    /// After a clone into a larger volume, or a grow while nothing was mounted, the filesystem is too small.
    /// That it cannot be grown is no reason to keep its files from the user.
    async fn fill_device(&self) -> Result<()> {
        if self.wanted.read_only {
            return Ok(());
        }
        let (device, stage, filesystem) = (self.device.clone(), self.places.stage(), self.filesystem);
        let too_small = blocking(&self.tools.hold, move || {
            Ok(spans(filesystem, &device.path(), &stage)? + SLACK < device.size()?)
        });
        if too_small.await? {
            let (device, stage) = (self.device.path(), self.places.stage());
            let problem = match filesystem::hindrance(filesystem) {
                Some(hindrance) => Some(hindrance.to_owned()),
                None => filesystem::grow(self.tools, filesystem, &device, &stage)
                    .await
                    .err()
                    .map(|e| e.to_string()),
            };
            if let Some(problem) = problem {
                tracing::warn!(volume = %self.places.volume, problem, "the filesystem stays smaller than its device");
            }
        }
        Ok(())
    }

    pub(super) fn refused(&self, reason: String) -> HostError {
        HostError::Refused { volume: self.places.volume.clone(), device: self.device.path(), reason }
    }
}

/// Our own reading; not needed where a label was found, as that alone decides.
pub(super) fn see(device: &Block, probe: &Probe) -> Result<proof::Sight, Box<dyn std::error::Error>> {
    if *probe != Probe::Nothing {
        return Ok(proof::Sight::Data { at: 0 });
    }
    let size = device.size()?.get();
    Ok(proof::look(&device.open()?, size, device.image())?)
}

fn check_fits(filesystem: Filesystem, device: &Block) -> Result<(), String> {
    let read = device.open().map_err(|e| e.to_string());
    let superblock = Superblock::read(&read?).map_err(|e| format!("its superblock cannot be read: {e}"))?;
    let Some(superblock) = superblock.filter(|s| s.is(filesystem)) else {
        return Err(format!("its superblock is not readable as one of {filesystem}"));
    };
    let size = device.size().map_err(|e| e.to_string())?;
    if superblock.size > size {
        return Err(format!(
            "its filesystem is {} large and the device only {size}: its end is cut off; grow the volume to at \
             least the size of the filesystem",
            superblock.size
        ));
    }
    filesystem::obstacle(filesystem, &superblock, &device.path()).map_or(Ok(()), Err)
}

fn spans(filesystem: Filesystem, device: &Path, stage: &Path) -> Result<Bytes> {
    filesystem::mounted_size(filesystem, device, stage)
        .doing(|| format!("learn how large the filesystem at {} is", stage.display()))
}
