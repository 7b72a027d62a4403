//! Volumes that are images of a block device on this machine.

use std::path::Path;
use std::sync::Arc;

use model::Bytes;

use super::Places;
use super::content::{self, Volume};
use crate::device::block::Block;
use crate::device::r#loop::{self, Loop, Purpose, Tag};
use crate::device::{busy, image::Image};
use crate::encryption::Passphrases;
use crate::error::{HostError, Result};
use crate::filesystem::Tools;
use crate::host::{Attached, Attachment};
use crate::lock::{Locks, blocking, both};
use crate::mount::{Options, Table};

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
    let device = {
        let (places, wanted) = (places.clone(), wanted.clone());
        let attached = blocking(&tools.hold, move || {
            let device = attach_loop(&places, &image, &wanted)?;
            Ok(Block::Image { device, image })
        });
        Arc::new(attached.await?)
    };
    let Some(filesystem) = wanted.filesystem else {
        return Ok(Attached::Device { path: device.path() });
    };
    let volume = Volume { places, wanted, filesystem, device, tools: &tools };
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
pub(super) async fn grow(
    places: &Places,
    size: Bytes,
    passphrases: Option<&Passphrases>,
    tools: &Tools,
) -> Result<()> {
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
    content::grow(places, &filesystem, &device.path(), size, passphrases, tools).await
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
