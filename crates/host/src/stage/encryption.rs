//! The layer of a volume's encryption, between its device and what lies on it.
//!
//! A header is made by the same rule as a filesystem, on a device that is proven blank. Each step of a change of the
//! passphrase leaves a header that a passphrase at hand opens, so a death between two is made good by the next attach.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Bytes;

use super::content::{self, Volume};
use super::format::{self, Content, Evidence, FormatRecord, Next, Phase};
use super::{Places, Unwritten, make_directory, unit};
use crate::device::block::{self, Block};
use crate::device::luks::{self, Guard, Header};
use crate::device::mapping::{self, Mapping};
use crate::encryption::{Passphrase, Passphrases};
use crate::error::{Doing, HostError, Result};
use crate::filesystem::{self, Probe, Tools};
use crate::lock::blocking;

const GUARD: &str = ".cryptsetup";
const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";

/// Sees that the volume's encryption is open, and gives the device that shows its content.
///
/// # Behavior
/// Makes the header if the device is proven blank. Retires the previous passphrase, where one is given.
///
/// # Errors
/// `Refused` when the device holds anything else, or no passphrase at hand opens it: nothing was written then.
pub(super) async fn unlock(volume: &Volume<'_>, passphrases: &Passphrases) -> Result<Arc<Block>> {
    passphrases.check()?;
    check_kernel(volume).await?;
    let guard = take_guard(volume.places, volume.tools).await?;
    let unlocked = unlock_alone(volume, passphrases, &guard).await;
    end_guard(volume.places, guard, volume.tools).await?;
    unlocked
}

async fn unlock_alone(volume: &Volume<'_>, passphrases: &Passphrases, guard: &Guard) -> Result<Arc<Block>> {
    let device = volume.device.path();
    let probe = filesystem::probe(volume.tools, &device).await?;
    let name = name(volume.places);
    let open = mapping::find(&name);
    if let Some(mapping) = &open {
        check_mapping(volume, mapping, &probe)?;
    }
    let uuid = match (ensure_header(volume, passphrases, guard, probe, open.is_some()).await?, open) {
        (Some(made), _) => made,
        (None, Some(mapping)) => return reuse(volume, passphrases, guard, mapping).await,
        (None, None) => match filesystem::probe(volume.tools, &device).await? {
            Probe::Luks(uuid) => uuid,
            other => {
                return Err(volume.refused(format!("its LUKS header went while it was looked at: {other:?}")));
            }
        },
    };
    let opens = match volume.wanted.read_only {
        true => find_key(volume, passphrases).await?.0,
        false => rotate(volume, passphrases, guard).await?,
    };
    luks::open(guard, &device, &name, &opens.secret, volume.wanted.read_only, volume.tools).await?;
    let opened = mapping::find(&name).filter(|m| m.is_of(&uuid));
    let opened =
        opened.ok_or_else(|| std::io::Error::other("it is not in sysfs")).doing(|| format!("open {name}"))?;
    Ok(Arc::new(Block::Decrypted { name: opened.device, uuid, below: volume.device.clone() }))
}

/// Closes the mapping of a volume, if it has one.
///
/// # Errors
/// `Busy` with who holds it; a flush that fails. It stays open then.
pub(super) async fn close(places: &Places, unwritten: Unwritten, tools: &Tools) -> Result<()> {
    if !guard_path(places).exists() && mapping::find(&name(places)).is_none() {
        return Ok(());
    }
    // Whoever still opens it, it is open or not by the time that the lock is ours.
    let guard = take_guard(places, tools).await?;
    let closed = close_alone(places, unwritten, tools).await;
    end_guard(places, guard, tools).await?;
    closed
}

async fn close_alone(places: &Places, unwritten: Unwritten, tools: &Tools) -> Result<()> {
    let Some(mapping) = mapping::find(&name(places)) else { return Ok(()) };
    let (volume, device) = (places.volume.clone(), mapping.path());
    blocking(&tools.hold, move || unit::flush(volume, &device, unwritten)).await?;
    luks::close(&mapping.name, tools).await?;
    Ok(())
}

/// Extends the mapping of a volume to its device, and says what it is then; `None` where there is none.
///
/// # Errors
/// `Invalid` without the passphrases.
pub(super) async fn grow(
    places: &Places,
    passphrases: Option<&Passphrases>,
    tools: &Tools,
) -> Result<Option<(PathBuf, Bytes)>> {
    let Some(mapping) = mapping::find(&name(places)) else { return Ok(None) };
    let Some(below) = mapping.below().into_iter().next() else {
        return Err(HostError::Missing {
            volume: places.volume.clone(),
            problem: format!("the device below {} is gone", mapping.path().display()),
        });
    };
    if is_smaller(&mapping, &below, tools).await? {
        let Some(passphrases) = passphrases else {
            return Err(HostError::Unsupported {
                volume: places.volume.clone(),
                problem: "it is encrypted and grows only with its passphrase; give it".to_owned(),
            });
        };
        passphrases.check()?;
        let device = Path::new("/dev").join(below);
        let (key, _) = find_key_of(places, &device, passphrases, tools).await?;
        luks::resize(&mapping.name, &key.secret, tools).await?;
    }
    Ok(Some((mapping.path(), block::size(&mapping.device)?)))
}

/// Whether a mapping leaves some of the device below it unused.
async fn is_smaller(mapping: &Mapping, below: &str, tools: &Tools) -> Result<bool> {
    let (inner, below) = (mapping.device.clone(), below.to_owned());
    blocking(&tools.hold, move || {
        let path = Path::new("/dev").join(&below);
        let doing = || format!("read the LUKS header of {}", path.display());
        let header = Header::read(&File::open(&path).doing(doing)?).doing(doing)?;
        let Some(header) = header else { return Ok(false) };
        Ok(block::size(&inner)? + header.offset < block::size(&below)?)
    })
    .await
}

/// Removes the file of the lock; the caller has seen that no tool is at work.
async fn end_guard(places: &Places, guard: Guard, tools: &Tools) -> Result<()> {
    let path = guard_path(places);
    blocking(&tools.hold, move || guard.end(&path)).await
}

fn name(places: &Places) -> String {
    mapping::name(&places.mounts_root, &places.volume)
}

fn guard_path(places: &Places) -> PathBuf {
    places.directory().join(GUARD)
}

async fn take_guard(places: &Places, tools: &Tools) -> Result<Guard> {
    let (places, limit) = (places.clone(), tools.limits.long);
    blocking(&tools.hold, move || {
        make_directory(&places.directory())?;
        let path = guard_path(&places);
        Guard::take(&path, limit)?.ok_or_else(|| HostError::Busy {
            volume: places.volume.clone(),
            subject: "its encryption".to_owned(),
            holders: format!(
                "a cryptsetup that an earlier run of leister started (see `lslocks`, {})",
                path.display()
            ),
        })
    })
    .await
}

async fn check_kernel(volume: &Volume<'_>) -> Result<()> {
    if mapping::check_kernel().is_ok() {
        return Ok(());
    }
    // Where it cannot be loaded, the second look tells.
    let _ = volume.tools.quick("modprobe").args(["--quiet", "dm_crypt"]).run().await;
    mapping::check_kernel()
        .map_err(|problem| HostError::Unsupported { volume: volume.places.volume.clone(), problem })
}

/// A mapping that is open already must be this device's.
fn check_mapping(volume: &Volume<'_>, mapping: &Mapping, probe: &Probe) -> Result<()> {
    let device = volume.device.path();
    let is_below = mapping.below().iter().any(|name| device == Path::new("/dev").join(name));
    let is_of = matches!(probe, Probe::Luks(uuid) if mapping.is_of(uuid));
    let conflict = |problem| Err(HostError::Conflict { volume: volume.places.volume.clone(), problem });
    if !is_below || !is_of {
        return conflict(format!(
            "{} is open for it over another device or header than {} has; unmount all of it and detach it",
            mapping.path().display(),
            device.display()
        ));
    }
    if mapping.read_only != volume.wanted.read_only {
        let now = if mapping.read_only { "read-only" } else { "for writing" };
        return conflict(format!("it is attached {now}; unmount all of it and detach it first"));
    }
    Ok(())
}

/// Takes up a mapping that is open: another use of the volume, or an attach that died.
async fn reuse(
    volume: &Volume<'_>,
    passphrases: &Passphrases,
    guard: &Guard,
    mapping: Mapping,
) -> Result<Arc<Block>> {
    if passphrases.retired().is_some() && !volume.wanted.read_only {
        rotate(volume, passphrases, guard).await?;
    }
    let path = volume.device.path();
    let below = path.file_name().unwrap_or_default().to_string_lossy();
    if is_smaller(&mapping, &below, volume.tools).await? {
        let (key, _) = find_key(volume, passphrases).await?;
        luks::resize(&mapping.name, &key.secret, volume.tools).await?;
    }
    let uuid = match filesystem::probe(volume.tools, &path).await? {
        Probe::Luks(uuid) => uuid,
        other => return Err(volume.refused(format!("its LUKS header went while it was open: {other:?}"))),
    };
    Ok(Arc::new(Block::Decrypted { name: mapping.device, uuid, below: volume.device.clone() }))
}

/// Sees that the device has a header; makes it only by the rule in `format`. Says the UUID of one that it made.
async fn ensure_header(
    volume: &Volume<'_>,
    passphrases: &Passphrases,
    guard: &Guard,
    probe: Probe,
    is_open: bool,
) -> Result<Option<String>> {
    let Some(uuid) = decide(volume, probe, is_open).await? else { return Ok(None) };
    let path = volume.device.path();
    record(volume, Phase::Begun, &uuid).await?;
    luks::format(guard, &path, &uuid, &passphrases.current.secret, volume.tools).await?;
    let made = filesystem::probe(volume.tools, &path).await?;
    if made != Probe::Luks(uuid.clone()) {
        return Err(volume.refused(format!("it was given a LUKS header, but blkid sees {made:?} on it")));
    }
    record(volume, Phase::Encrypted, &uuid).await?;
    Ok(Some(uuid))
}

/// The UUID of the header to make, or none where there is one to use.
async fn decide(volume: &Volume<'_>, probe: Probe, is_open: bool) -> Result<Option<String>> {
    let (device, directory) = (volume.device.clone(), volume.places.directory());
    let (wanted, filesystem, id) = (volume.wanted.clone(), volume.filesystem, volume.places.volume.clone());
    blocking(&volume.tools.hold, move || {
        let refused = |reason| HostError::Refused { volume: id.clone(), device: device.path(), reason };
        let record = FormatRecord::read(&directory)?.filter(|r| r.subject == device.subject());
        let sight = content::see(&device, &probe).map_err(|e| {
            refused(format!("it could not be read whole ({e}), so it is not known what it holds"))
        })?;
        let evidence = Evidence {
            wanted: Content::Luks,
            read_only: wanted.read_only,
            staged_before: wanted.staged_before,
            may_hold_data: wanted.may_hold_data,
            phase: record.as_ref().and_then(|r| r.phase_of_header(filesystem, &probe)),
            probe: &probe,
            sight,
        };
        if format::next(&evidence).map_err(refused)? == Next::Use {
            return Ok(None);
        }
        if is_open || device.open_alone()?.is_none() {
            return Err(refused("something else uses it at this moment".to_owned()));
        }
        let size = device.size()?;
        if size < luks::SMALLEST {
            return Err(refused(format!(
                "it is {size} large, and an encrypted volume needs at least {}: 16MiB of it are for the header",
                luks::SMALLEST
            )));
        }
        // One that was begun keeps its UUID: the header may be there without our having learned of it.
        let begun = record.filter(|r| r.phase == Phase::Begun).and_then(|r| r.luks);
        Ok(Some(match begun {
            Some(uuid) => uuid,
            None => {
                let fresh = fs::read_to_string(RANDOM_UUID).doing(|| format!("read {RANDOM_UUID}"))?;
                fresh.trim().to_owned()
            }
        }))
    })
    .await
}

async fn record(volume: &Volume<'_>, phase: Phase, uuid: &str) -> Result<()> {
    let record = FormatRecord::encrypted(volume.device.subject(), volume.filesystem, phase, uuid);
    let directory = volume.places.directory();
    blocking(&volume.tools.hold, move || record.write(&directory)).await
}

/// Brings the header to the current passphrase: it is added by the previous one, and opens a slot of its own, before
/// the previous one's slot goes.
async fn rotate<'a>(
    volume: &Volume<'_>,
    passphrases: &'a Passphrases,
    guard: &Guard,
) -> Result<&'a Passphrase> {
    let (device, tools) = (volume.device.path(), volume.tools);
    let current = &passphrases.current;
    let (key, _) = find_key(volume, passphrases).await?;
    let Some(retired) = passphrases.retired() else { return Ok(key) };
    if key != current {
        luks::add(guard, &device, &key.secret, &current.secret, tools).await?;
    }
    let kept = luks::slot(&device, &current.secret, tools).await?;
    if let Some(slot) = luks::slot(&device, &retired.secret, tools).await?
        && kept.is_some_and(|kept| kept != slot)
    {
        luks::remove(guard, &device, slot, &current.secret, tools).await?;
        tracing::info!(volume = %volume.places.volume, current = current.name, retired = retired.name,
            "the previous passphrase does not open the volume any more");
    }
    Ok(current)
}

async fn find_key<'a>(volume: &Volume<'_>, passphrases: &'a Passphrases) -> Result<(&'a Passphrase, u32)> {
    find_key_of(volume.places, &volume.device.path(), passphrases, volume.tools).await
}

/// The passphrase that opens the header, and its slot.
async fn find_key_of<'a>(
    places: &Places,
    device: &Path,
    passphrases: &'a Passphrases,
    tools: &Tools,
) -> Result<(&'a Passphrase, u32)> {
    for passphrase in std::iter::once(&passphrases.current).chain(passphrases.retired()) {
        if let Some(slot) = luks::slot(device, &passphrase.secret, tools).await? {
            return Ok((passphrase, slot));
        }
    }
    let tried = match &passphrases.previous {
        Some(previous) => {
            format!("neither the passphrase `{}` nor `{}`", passphrases.current.name, previous.name)
        }
        None => format!("the passphrase `{}` does not", passphrases.current.name),
    };
    let reason = match &passphrases.previous {
        Some(_) => format!("{tried} opens its encryption; give the one that it was made with"),
        None => format!(
            "{tried} open its encryption; give the one that it was made with, or that one as the previous one to \
             replace it"
        ),
    };
    Err(HostError::Refused { volume: places.volume.clone(), device: device.to_owned(), reason })
}
