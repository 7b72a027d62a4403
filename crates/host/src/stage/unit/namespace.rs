//! Units by NVMe: the kernel makes one device of all paths.

use std::path::Path;
use std::time::{Duration, Instant};

use model::{Bytes, NamespaceId, NvmeRoute, VolumeId};

use super::{APPEARANCE, LOOK_EVERY, Places, is_used_by_others, marked, path_of, refused};
use crate::device::block;
use crate::device::nvme::{self, Controller, Subsystem};
use crate::error::{HostError, Result};
use crate::filesystem::Tools;
use crate::lock::blocking;
use crate::sessions::{Protocol, Sessions};

/// How long the kernel may take to see a new size.
const RESIZE: Duration = Duration::from_secs(5);

/// Connects and finds the device of a namespace. The caller holds the subsystem.
///
/// # Errors
/// Nothing of ours is left then.
pub(super) async fn find(
    places: &Places,
    route: &NvmeRoute,
    tools: &Tools,
    ours: &Sessions,
) -> Result<String> {
    let found = async {
        connect(places, route, tools, ours).await?;
        match marked(places)? {
            Some(device) => prove(places, route, &device).map(|()| device),
            None => await_device(places, route, tools).await,
        }
    };
    let found = found.await;
    if found.is_err()
        && let Err(error) = leave_unused(&places.marker(), &route.subsystem, tools, ours).await
    {
        tracing::warn!(volume = %places.volume, %error, "a connection stays behind");
    }
    found
}

/// Lets the kernel see what size a namespace has now, and waits a moment for it.
pub(super) async fn resize(subsystem: &Subsystem, device: &str, wanted: Bytes, tools: &Tools) -> Result<()> {
    let at = subsystem.clone();
    blocking(&tools.hold, move || at.rescan()).await?;
    let until = Instant::now() + RESIZE;
    while block::size(device)? != wanted && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Ends our connections to a subsystem, unless another of its namespaces is in use.
pub(super) async fn leave(places: &Places, at: &Subsystem, tools: &Tools, ours: &Sessions) -> Result<()> {
    let _alone = ours.hold(&at.nqn).await;
    leave_unused(&places.marker(), &at.nqn, tools, ours).await
}

/// Connects by portals that have no connection.
pub(super) async fn join(
    volume: &VolumeId,
    nqn: &str,
    portals: &[String],
    tools: &Tools,
    ours: &Sessions,
) -> Result<Option<HostError>> {
    let host = nvme::host(volume)?;
    let known = nvme::find(nqn).map(|subsystem| subsystem.controllers()).unwrap_or_default();
    let has = |portal: &String| known.iter().any(|c| c.is_by(portal));
    let missing: Vec<String> = portals.iter().filter(|portal| !has(portal)).cloned().collect();
    let connect = |portal: String| {
        let (nqn, host, hold) = (nqn.to_owned(), host.clone(), tools.hold.clone());
        async move { blocking(&hold, move || nvme::connect(&nqn, &portal, &host)).await }
    };
    let is_in = known.iter().any(Controller::is_live);
    Ok(ours.join(volume, (Protocol::Nvme, nqn), missing, is_in, connect).await)
}

async fn connect(places: &Places, route: &NvmeRoute, tools: &Tools, ours: &Sessions) -> Result<()> {
    ours.want(Protocol::Nvme, &route.subsystem, &route.portals)?;
    // Without the kernel's multipath a second connection would be a second device.
    let portals = if nvme::has_multipath() { &route.portals[..] } else { &route.portals[..1] };
    let first = join(&places.volume, &route.subsystem, portals, tools, ours).await?;
    let connected = nvme::find(&route.subsystem).is_some_and(|s| !s.controllers().is_empty());
    match first {
        Some(error) if !connected => Err(error),
        _ => Ok(()),
    }
}

async fn await_device(places: &Places, route: &NvmeRoute, tools: &Tools) -> Result<String> {
    const RESCAN_EVERY: Duration = Duration::from_secs(2);
    let (until, mut scanned) = (Instant::now() + APPEARANCE, Instant::now());
    loop {
        let subsystem = nvme::find(&route.subsystem);
        let device = subsystem.as_ref().and_then(|subsystem| subsystem.namespace(&route.namespace));
        if let Some(device) = device.filter(|device| path_of(device).exists()) {
            prove(places, route, &device)?;
            return Ok(device);
        }
        if Instant::now() > until {
            let (NamespaceId::Nguid(id) | NamespaceId::Uuid(id)) = &route.namespace;
            return Err(HostError::Missing {
                volume: places.volume.clone(),
                problem: format!(
                    "the subsystem {} shows no namespace {id} to this node; see that it is mapped to this node's NQN",
                    route.subsystem
                ),
            });
        }
        if let Some(subsystem) = subsystem.filter(|_| scanned.elapsed() > RESCAN_EVERY) {
            blocking(&tools.hold, move || subsystem.rescan()).await?;
            scanned = Instant::now();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Sees that a device is the volume, before anything else is done with it.
fn prove(places: &Places, route: &NvmeRoute, device: &str) -> Result<()> {
    let found = nvme::identity_of(device, &route.namespace);
    if found.as_ref().is_some_and(|found| nvme::is_same(found, &route.namespace)) {
        return Ok(());
    }
    let (NamespaceId::Nguid(id) | NamespaceId::Uuid(id)) = &route.namespace;
    let found = found.unwrap_or_else(|| "none".to_owned());
    Err(refused(
        places,
        device,
        format!("its identity is {found} and the volume's is {id}: it is another volume"),
    ))
}

/// As [`leave`]; the caller holds the subsystem. `own` is the marker of a volume that does not count.
pub(super) async fn leave_unused(own: &Path, nqn: &str, tools: &Tools, ours: &Sessions) -> Result<()> {
    let Some(subsystem) = nvme::find(nqn) else { return ours.forget(nqn) };
    let own = own.to_owned();
    let at = subsystem.clone();
    let is_used = blocking(&tools.hold, move || {
        at.namespaces()
            .iter()
            .map(|device| is_used_by_others(device, &own))
            .find(|used| !matches!(used, Ok(false)))
            .unwrap_or(Ok(false))
    });
    if is_used.await? {
        return Ok(());
    }
    let mine = subsystem.controllers().into_iter().filter(|c| ours.is_ours(nqn, &c.portal));
    for controller in mine {
        blocking(&tools.hold, move || controller.disconnect()).await?;
    }
    // What somebody else connected stays, and is none of ours.
    ours.forget(nqn)
}
