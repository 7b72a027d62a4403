//! Volumes that are images of a block device on this machine.

use std::path::Path;

use model::{Bytes, Filesystem};

use super::format::{self, Evidence, FormatRecord, Next, Phase};
use super::{Places, check_read_only, make_directory, set_mode};
use crate::device::r#loop::{self, Loop, Purpose, Tag};
use crate::device::{busy, image::Image, proof};
use crate::error::{Doing, HostError, Result};
use crate::filesystem::{self, Probe, Superblock, Tools};
use crate::host::{Attached, Attachment};
use crate::lock::{Locks, blocking, both};
use crate::mount::{self, Options, Table};

/// How much of a device's end a filesystem may leave unused without being too small.
const SLACK: Bytes = Bytes::mib(16);

pub(super) async fn attach(
    places: &Places,
    path: &Path,
    wanted: &Attachment,
    tools: &Tools,
    images: &Locks<(u64, u64)>,
) -> Result<Attached> {
    let options = Options::parse(&wanted.mount_options, wanted.read_only)?;
    let image = {
        let (volume, path, read_only) = (places.volume.clone(), path.to_owned(), wanted.read_only);
        let size = wanted.size;
        blocking(&tools.hold, move || {
            let image = Image::open(&volume, &path, read_only)?;
            let found = image.size()?;
            if found.get() % r#loop::SECTOR != 0 {
                return Err(HostError::Invalid {
                    what: "image",
                    value: path.display().to_string(),
                    problem: format!(
                        "has {} bytes, which no device can have; make it a multiple of {}",
                        found.get(),
                        r#loop::SECTOR
                    ),
                });
            }
            if found != size {
                return Err(HostError::Size { volume, wanted: size, found, at: path });
            }
            Ok(image)
        })
        .await?
    };
    let image_hold = images.hold((image.identity.device, image.identity.inode)).await;
    let tools = Tools { hold: both(&tools.hold, image_hold), ..tools.clone() };
    let image = std::sync::Arc::new(image);
    let device = {
        let (places, wanted, image) = (places.clone(), wanted.clone(), image.clone());
        blocking(&tools.hold, move || attach_loop(&places, &image, &wanted)).await?
    };
    let Some(filesystem) = wanted.filesystem else {
        return Ok(Attached::Device { path: device.path() });
    };
    let volume = Volume { places, wanted, filesystem, image, device, tools: &tools };
    let staged = volume.stage(options).await;
    if staged.is_err() {
        // A device that nothing came of does not stay behind; the error that matters is the one at hand.
        let places = places.clone();
        let released = blocking(&tools.hold, move || {
            if Table::read()?.at(&places.stage()).is_none() { release(&places) } else { Ok(()) }
        });
        if let Err(error) = released.await {
            tracing::warn!(volume = %volume.places.volume, %error, "a loop device stays behind");
        }
    }
    staged
}

/// Detaches the loop device of a volume, if it has one.
///
/// # Errors
/// `Busy` with who holds it: a device with a mounted consumer is never torn down.
pub(super) fn release(places: &Places) -> Result<()> {
    let Some(device) = r#loop::find_volume(&places.mounts_root, &places.volume)? else { return Ok(()) };
    if device.release()? {
        return Ok(());
    }
    let name = format!("loop{}", device.number);
    Err(HostError::Busy {
        volume: places.volume.clone(),
        subject: device.path().display().to_string(),
        holders: busy::describe(&busy::of_device(device.number_pair(), &name)),
    })
}

/// Extends the loop device, and the filesystem on it if one is mounted, to `size`.
pub(crate) async fn grow(places: &Places, size: Bytes, tools: &Tools) -> Result<()> {
    let (device, staged) = {
        let places = places.clone();
        blocking(&tools.hold, move || {
            let staged = Table::read()?.at(&places.stage()).map(|e| (e.filesystem.clone(), e.is_read_only()));
            let device = r#loop::find_volume(&places.mounts_root, &places.volume)?;
            if device.is_none() && staged.is_none() {
                return Err(HostError::NotAttached(places.volume));
            }
            let Some(device) = device else { return Ok((None, staged)) };
            match_size(&places, &device, size)?;
            Ok((Some(device), staged))
        })
        .await?
    };
    let (Some(device), Some((filesystem, false))) = (device, staged) else { return Ok(()) };
    let filesystem: Filesystem = filesystem.parse().map_err(|problem| HostError::Unsupported {
        volume: places.volume.clone(),
        problem: format!("its filesystem cannot be grown: {problem}"),
    })?;
    let (device, stage) = (device.path(), places.stage());
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

/// Everything about one attach of an image with a filesystem.
struct Volume<'a> {
    places: &'a Places,
    wanted: &'a Attachment,
    filesystem: Filesystem,
    image: std::sync::Arc<Image>,
    device: Loop,
    tools: &'a Tools,
}

impl Volume<'_> {
    async fn stage(&self, options: Options) -> Result<Attached> {
        let formatted = if self.is_staged().await? {
            false
        } else {
            let formatted = self.ensure_filesystem().await?;
            if !self.wanted.read_only {
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
                let made = filesystem::probe(self.tools, &path).await?;
                if made != Probe::Filesystem(self.filesystem) {
                    return Err(self.refused(format!("it was formatted, but blkid sees {made:?} on it")));
                }
                self.record(Phase::Done).await?;
                true
            }
        };
        Ok(formatted)
    }

    async fn decide(&self, probe: Probe) -> Result<Next> {
        let (device, image, directory) = (self.device.clone(), self.image.clone(), self.places.directory());
        let (wanted, filesystem, volume) = (self.wanted.clone(), self.filesystem, self.places.volume.clone());
        blocking(&self.tools.hold, move || {
            let refused =
                |reason| HostError::Refused { volume: volume.clone(), device: device.path(), reason };
            let record = FormatRecord::read(&directory)?.filter(|r| r.image == image.identity);
            let sight = see(&device, &image, &probe).map_err(|e| {
                refused(format!("it could not be read whole ({e}), so it is not known what it holds"))
            })?;
            let evidence = Evidence {
                wanted: filesystem,
                read_only: wanted.read_only,
                staged_before: wanted.staged_before,
                may_hold_data: wanted.may_hold_data,
                record: record.as_ref(),
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
        let record = FormatRecord::new(self.image.identity.clone(), self.filesystem, phase);
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

    fn refused(&self, reason: String) -> HostError {
        HostError::Refused { volume: self.places.volume.clone(), device: self.device.path(), reason }
    }
}

fn attach_loop(places: &Places, image: &Image, wanted: &Attachment) -> Result<Loop> {
    let purpose = if wanted.filesystem.is_some() { Purpose::Filesystem } else { Purpose::Raw };
    let tag = Tag::new(&places.mounts_root, &places.volume, purpose);
    if let Some(other) = r#loop::find_volume(&places.mounts_root, &places.volume)?
        && other.backing != (image.identity.device, image.identity.inode)
    {
        return Err(HostError::Conflict {
            volume: places.volume.clone(),
            problem: format!(
                "{} is attached for it with the image {} behind it instead of {}; unmount all of it and detach it",
                other.path().display(),
                other.backing_path().unwrap_or_default(),
                image.path.display()
            ),
        });
    }
    let device = r#loop::attach(&places.volume, image, &tag, wanted.read_only)?;
    match_size(places, &device, wanted.size)?;
    Ok(device)
}

/// Sees that the kernel gives a device this size, taking over what its image has grown to.
fn match_size(places: &Places, device: &Loop, wanted: Bytes) -> Result<()> {
    if device.size()? != wanted {
        device.refresh_size()?;
    }
    let found = device.size()?;
    if found == wanted {
        return Ok(());
    }
    Err(HostError::Size { volume: places.volume.clone(), wanted, found, at: device.path() })
}

/// Our own reading; not needed where a label was found, as that alone decides.
fn see(device: &Loop, image: &Image, probe: &Probe) -> Result<proof::Sight, Box<dyn std::error::Error>> {
    if *probe != Probe::Nothing {
        return Ok(proof::Sight::Data { at: 0 });
    }
    let size = device.size()?.get();
    Ok(proof::look(&device.open(false)?, size, Some(&image.file))?)
}

fn check_fits(filesystem: Filesystem, device: &Loop) -> Result<(), String> {
    let read = device.open(false).map_err(|e| e.to_string());
    let superblock = Superblock::read(&read?).map_err(|e| format!("its superblock cannot be read: {e}"))?;
    let Some(superblock) = superblock.filter(|s| s.is(filesystem)) else {
        return Err(format!("blkid sees {filesystem} on it, but its superblock is not readable as such"));
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
