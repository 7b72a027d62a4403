//! Volumes that are block devices of a storage behind a network.

use std::path::Path;
use std::time::{Duration, Instant};

use model::{Bytes, IscsiRoute, NvmeRoute};

use super::Places;
use super::content::Volume;
use crate::device::block::{self, Block, Proof};
use crate::device::image::Identity;
use crate::error::{HostError, Result};
use crate::filesystem::Tools;
use crate::host::{Attached, Attachment, Multipath};
use crate::lock::{Locks, blocking, both};
use crate::mount::{Options, Table};
use crate::wire::{iscsi, multipath, nvme};

/// How long the kernel may take to see a new size.
const GROWS: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

pub(super) enum Wire<'a> {
    Iscsi(&'a IscsiRoute),
    Nvme(&'a NvmeRoute),
}

/// # Behavior
/// Targets are shared by volumes: what connects and what disconnects one wait for each other. Nothing is opened
/// before it is proven to be the volume, on each of its paths.
pub(super) async fn attach(
    places: &Places,
    wire: Wire<'_>,
    wanted: &Attachment,
    tools: &Tools,
    targets: &Locks<String>,
) -> Result<Attached> {
    let options = Options::parse(&wanted.mount_options, wanted.read_only)?;
    let Some(filesystem) = wanted.filesystem else {
        return Err(HostError::Unsupported {
            volume: places.volume.clone(),
            problem: "raw devices over a network are not supported; give the volume a filesystem".to_owned(),
        });
    };
    let target = match &wire {
        Wire::Iscsi(route) => route.target.clone(),
        Wire::Nvme(route) => route.subsystem.clone(),
    };
    let hold = targets.hold(target.clone()).await;
    let connecting = Tools { hold: both(&tools.hold, hold.clone()), ..tools.clone() };
    let device = match &wire {
        Wire::Iscsi(route) => connect_iscsi(places, route, wanted, &connecting).await?,
        Wire::Nvme(route) => nvme::connect(places, route, &connecting).await?,
    };
    // A SCSI device keeps its session; a namespace is only safe from a disconnect once it is mounted.
    let kept = match &wire {
        Wire::Iscsi(_) => {
            drop((connecting, hold));
            tools.clone()
        }
        Wire::Nvme(_) => connecting,
    };
    let staged = async {
        let proven = device.clone();
        let size = wanted.size;
        blocking(&kept.hold, move || {
            proven.prove()?;
            proven.match_size(size)
        })
        .await?;
        let identity = Identity::Unit { id: unit(&wire) };
        let device = device.clone();
        let volume = Volume { places, wanted, filesystem, identity, image: None, device, tools: &kept };
        volume.stage(options).await
    }
    .await;
    drop(kept);
    if staged.is_err() && Table::read()?.at(&places.stage()).is_none() {
        // The error that matters is the one at hand.
        if let Err(error) = release(places, &device.name, tools, targets).await {
            tracing::warn!(volume = %places.volume, %error, "a device stays behind");
        }
    }
    staged
}

/// Takes down a device that nothing is mounted from any more, and what led to it.
pub(super) async fn release(
    places: &Places,
    name: &str,
    tools: &Tools,
    targets: &Locks<String>,
) -> Result<()> {
    if let Some(subsystem) = nvme::subsystem_of(name) {
        let nqn = std::fs::read_to_string(subsystem.join("subsysnqn")).unwrap_or_default().trim().to_owned();
        let hold = both(&tools.hold, targets.hold(nqn).await);
        return blocking(&hold, move || nvme::disconnect(&subsystem)).await;
    }
    let device =
        Block { volume: places.volume.clone(), name: name.to_owned(), proof: Proof::Mapped(String::new()) };
    let paths = device.paths();
    if name.starts_with("dm-") {
        multipath::flush(name, tools).await?;
    }
    for path in paths {
        if let Some(target) = iscsi::target_of(&path) {
            let hold = targets.hold(target).await;
            let tools = Tools { hold: both(&tools.hold, hold), ..tools.clone() };
            iscsi::remove(places, &path, &tools).await?;
        }
    }
    Ok(())
}

/// Sees that a device has its new size, which the kernel is told to look for.
pub(super) async fn grow(places: &Places, name: &str, size: Bytes, tools: &Tools) -> Result<()> {
    let since = Instant::now();
    refresh(name, tools).await?;
    let proof = Proof::Mapped(String::new());
    let device = Block { volume: places.volume.clone(), name: name.to_owned(), proof };
    loop {
        match device.match_size(size) {
            Err(HostError::Size { .. }) if since.elapsed() < GROWS => tokio::time::sleep(PAUSE).await,
            matched => return matched,
        }
    }
}

/// Lets the kernel see the size that the storage gives a device: each path first, then what lies over them.
async fn refresh(name: &str, tools: &Tools) -> Result<()> {
    if let Some(subsystem) = nvme::subsystem_of(name) {
        return blocking(&tools.hold, move || nvme::rescan(&subsystem)).await;
    }
    let device = name.to_owned();
    blocking(&tools.hold, move || {
        let paths = block::slaves(&device);
        let paths = if paths.is_empty() { vec![device] } else { paths };
        paths.iter().try_for_each(|p| iscsi::rescan(p))
    })
    .await?;
    if let Some(map) = block::attribute_of(name, "dm/name") {
        tools.quick("multipathd").args(["resize", "map", &map]).accept(&[0, 1]).run().await?;
    }
    Ok(())
}

/// Whether a mount's source is a device that this module has to do with.
pub(super) fn name_of_source(source: &std::ffi::OsStr) -> Option<String> {
    let name = Path::new(source).strip_prefix("/dev").ok()?.to_str()?;
    let ours =
        name.starts_with("dm-") || nvme::subsystem_of(name).is_some() || iscsi::target_of(name).is_some();
    ours.then(|| name.to_owned())
}

async fn connect_iscsi(
    places: &Places,
    route: &IscsiRoute,
    wanted: &Attachment,
    tools: &Tools,
) -> Result<Block> {
    let several = wanted.multipath == Multipath::Auto && multipath::runs(tools).await;
    let paths = iscsi::connect(places, route, !several, tools).await?;
    let proof = Proof::Serial(route.serial.trim().to_owned());
    let block = |name: String| Block { volume: places.volume.clone(), name, proof: proof.clone() };
    // Before anything is built on them: a map over two volumes must never be.
    let each: Vec<Block> = paths.iter().cloned().map(block).collect();
    let proven = blocking(&tools.hold, move || each.iter().try_for_each(Block::prove)).await;
    let name = match (proven, paths.first()) {
        (Err(error), _) => {
            for path in paths.iter().filter(|p| block::holders(p).is_empty()) {
                if let Err(error) = drop_if_strange(places, path, route, tools).await {
                    tracing::warn!(volume = %places.volume, %error, "a path stays behind");
                }
            }
            return Err(error);
        }
        (Ok(()), Some(_)) if several => multipath::join(places, &paths, tools).await?,
        (Ok(()), Some(first)) => multipath::over(first).unwrap_or_else(|| first.clone()),
        (Ok(()), None) => {
            return Err(HostError::Missing {
                volume: places.volume.clone(),
                problem: "its target shows no device".to_owned(),
            });
        }
    };
    Ok(block(name))
}

/// After a refusal: paths of ours that nothing is built on go. A stranger's device stays where it is.
async fn drop_if_strange(places: &Places, path: &str, route: &IscsiRoute, tools: &Tools) -> Result<()> {
    let name = path.to_owned();
    let ours = blocking(&tools.hold, move || Ok(block::serial(&name).unwrap_or_default())).await?;
    if ours == route.serial.trim() { iscsi::remove(places, path, tools).await } else { Ok(()) }
}

fn unit(wire: &Wire<'_>) -> String {
    match wire {
        Wire::Iscsi(route) => format!("iscsi {} {}", route.target, route.serial.trim()),
        Wire::Nvme(route) => match &route.namespace {
            model::NamespaceId::Nguid(id) => format!("nvme {} nguid {id}", route.subsystem),
            model::NamespaceId::Uuid(id) => format!("nvme {} uuid {id}", route.subsystem),
        },
    }
}
