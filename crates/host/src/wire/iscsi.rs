//! iSCSI: node records and sessions by iscsiadm, all else by sysfs.

mod record;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::IscsiRoute;

use super::portal;
use crate::device::{block, busy};
use crate::error::{Doing, HostError, Result};
use crate::filesystem::Tools;
use crate::lock::blocking;
use crate::stage::Places;

/// How long the kernel may take to show a device after its unit was scanned for.
const APPEARS: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
const SESSIONS: &str = "/sys/class/iscsi_session";
const CONNECTIONS: &str = "/sys/class/iscsi_connection";

/// A session of the kernel's, logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    /// `session7`.
    name: String,
    host: u32,
    portal: SocketAddr,
}

/// Logs in where no session is, and finds the unit's device on each.
///
/// # Behavior
/// Portals that do not answer are left out as long as one does; they are joined by a later call. `few`: one session
/// is enough. Only this one unit is scanned for: what else the target has is nobody's business here.
///
/// # Errors
/// No portal answered (with what iscsiadm said); `Missing` when the target does not show the unit.
pub(crate) async fn connect(
    places: &Places,
    route: &IscsiRoute,
    few: bool,
    tools: &Tools,
) -> Result<Vec<String>> {
    check(places, route)?;
    let mut portals = portal::parse(&route.portals)?;
    let mut open = sessions(&route.target);
    if few {
        // One that is there already comes first.
        portals.sort_by_key(|p| !open.iter().any(|s| s.portal == *p));
    }
    let mut failures = Vec::new();
    let absent: Vec<SocketAddr> =
        portals.iter().filter(|p| !open.iter().any(|s| s.portal == **p)).copied().collect();
    if few {
        for portal in absent {
            if !open.is_empty() {
                break;
            }
            match login(route, portal, tools).await {
                Ok(()) => open = sessions(&route.target),
                Err(error) => failures.push((portal, error)),
            }
        }
    } else {
        let mut tasks = tokio::task::JoinSet::new();
        for portal in absent {
            let (route, tools) = (route.clone(), tools.clone());
            tasks.spawn(async move { (portal, login(&route, portal, &tools).await) });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Ok((portal, Err(error))) = ended {
                failures.push((portal, error));
            }
        }
        open = sessions(&route.target);
    }
    open.retain(|s| portals.contains(&s.portal));
    if open.is_empty() {
        return Err(failures.pop().map_or_else(
            || HostError::Missing {
                volume: places.volume.clone(),
                problem: format!("no session with {} came to be", route.target),
            },
            |(_, error)| error,
        ));
    }
    for (portal, error) in failures {
        tracing::warn!(volume = %places.volume, %portal, %error, "a path is missing; it is joined when it is back");
    }
    let mut paths = Vec::new();
    for session in &open {
        let (session, lun) = (session.clone(), route.lun);
        match blocking(&tools.hold, move || scan(&session, lun)).await? {
            Some(device) => paths.push(device),
            None => tracing::warn!(volume = %places.volume, lun, "a portal does not show the unit"),
        }
        if few && !paths.is_empty() {
            break;
        }
    }
    if paths.is_empty() {
        return Err(HostError::Missing {
            volume: places.volume.clone(),
            problem: format!(
                "the target {} does not show the unit {} to this node; see that it is mapped to this initiator",
                route.target, route.lun
            ),
        });
    }
    Ok(paths)
}

/// The target of the session that a SCSI device came by, if it came by one.
pub(crate) fn target_of(path: &str) -> Option<String> {
    let device = fs::canonicalize(block::sysfs(path).join("device")).ok()?;
    let session = device
        .components()
        .find_map(|c| c.as_os_str().to_str().filter(|n| n.starts_with("session")).map(str::to_owned))?;
    text(&Path::new(SESSIONS).join(session).join("targetname"))
}

/// Deletes a path that nothing uses, and ends its session if that has no other device, ours or anybody's.
///
/// # Errors
/// `Busy` with who holds it.
pub(crate) async fn remove(places: &Places, path: &str, tools: &Tools) -> Result<()> {
    let places = places.clone();
    let name = path.to_owned();
    let session = blocking(&tools.hold, move || {
        let Ok(device) = fs::canonicalize(block::sysfs(&name).join("device")) else { return Ok(None) };
        let session = device
            .ancestors()
            .find(|a| a.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("session")));
        let session = session.map(Path::to_owned);
        let block = block::Block {
            volume: places.volume.clone(),
            name: name.clone(),
            proof: block::Proof::Serial(block::serial(&name).unwrap_or_default()),
        };
        let number = block::attribute_of(&name, "dev").unwrap_or_default();
        if is_held(&block)? {
            let pair = number.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            return Err(HostError::Busy {
                volume: places.volume.clone(),
                subject: format!("/dev/{name}"),
                holders: busy::describe(&busy::of_device(pair.unwrap_or_default(), &name)),
            });
        }
        let delete = device.join("delete");
        fs::write(&delete, "1").doing(|| format!("delete the path {name}"))?;
        Ok(session)
    })
    .await?;
    let Some(session) = session else { return Ok(()) };
    if !devices(&session).is_empty() {
        return Ok(());
    }
    let Some(name) = session.file_name().and_then(|n| n.to_str()) else { return Ok(()) };
    let Some(sid) = name.strip_prefix("session") else { return Ok(()) };
    // 21: no such session any more.
    tools.quick("iscsiadm").args(["-m", "session", "-r", sid, "-u"]).accept(&[0, 21]).run().await?;
    Ok(())
}

/// Reads the size of a path anew from its unit.
pub(crate) fn rescan(path: &str) -> Result<()> {
    let file = block::sysfs(path).join("device/rescan");
    fs::write(&file, "1").doing(|| format!("rescan {path}"))
}

fn is_held(block: &block::Block) -> Result<bool> {
    use crate::device::Device;
    match block.open_alone() {
        Ok(opened) => Ok(opened.is_none()),
        // One that cannot be opened or read any more is held by whoever mounted it, which sysfs shows for maps.
        Err(HostError::System { .. } | HostError::Refused { .. }) => {
            Ok(!block::holders(&block.name).is_empty() || is_mounted(&block.name)?)
        }
        Err(error) => Err(error),
    }
}

fn is_mounted(name: &str) -> Result<bool> {
    let path = Path::new("/dev").join(name);
    Ok(crate::mount::Table::read()?.entries().iter().any(|e| *e.source == *path))
}

/// What a command line and a file of open-iscsi can hold.
fn check(places: &Places, route: &IscsiRoute) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".:-_".contains(c);
    let known = ["iqn.", "eui.", "naa."].iter().any(|p| route.target.starts_with(p));
    if !known || route.target.len() > 223 || !route.target.chars().all(legal) {
        return Err(HostError::Invalid {
            what: "iSCSI target",
            value: route.target.escape_default().to_string(),
            problem: "is no iSCSI name; it begins with `iqn.`, `eui.` or `naa.`".to_owned(),
        });
    }
    if route.serial.trim().is_empty() {
        return Err(HostError::Invalid {
            what: "serial number",
            value: route.serial.clone(),
            problem: "is empty, so no device could be proven to be the volume".to_owned(),
        });
    }
    if !Path::new("/sys/class/iscsi_transport/tcp").exists() {
        return Err(HostError::Unsupported {
            volume: places.volume.clone(),
            problem:
                "the kernel module `iscsi_tcp` is not loaded on this node; `modprobe iscsi_tcp`, or install \
                      the kernel's package of modules"
                    .to_owned(),
        });
    }
    Ok(())
}

async fn login(route: &IscsiRoute, portal: SocketAddr, tools: &Tools) -> Result<()> {
    const EXISTS: i32 = 15;
    let at = format!("{}:{}", portal::bracketed(portal.ip()), portal.port());
    let node = |tools: &Tools| tools.quick("iscsiadm").args(["-m", "node", "-T", &route.target, "-p", &at]);
    node(tools).args(["-o", "new"]).run().await?;
    let (target, chap) = (route.target.clone(), route.chap.clone());
    blocking(&tools.hold, move || record::set(&target, portal, chap.as_ref())).await?;
    node(tools).arg("--login").accept(&[0, EXISTS]).run().await?;
    Ok(())
}

/// Sessions with a target, by the portals they were told to use.
fn sessions(target: &str) -> Vec<Session> {
    let find = |name: String| {
        let directory = Path::new(SESSIONS).join(&name);
        if text(&directory.join("targetname"))? != target {
            return None;
        }
        let number = name.strip_prefix("session")?;
        let connection = Path::new(CONNECTIONS).join(format!("connection{number}:0"));
        let address = text(&connection.join("persistent_address"))?.parse().ok()?;
        let port = text(&connection.join("persistent_port"))?.parse().ok()?;
        let device = fs::canonicalize(directory.join("device")).ok()?;
        let host = device.parent()?.file_name()?.to_str()?.strip_prefix("host")?.parse().ok()?;
        Some(Session { name, host, portal: SocketAddr::new(address, port) })
    };
    block::list(Path::new(SESSIONS)).into_iter().filter_map(find).collect()
}

/// The block device of a unit on a session; scanned for if it is not there yet.
fn scan(session: &Session, lun: u16) -> Result<Option<String>> {
    let since = Instant::now();
    let at = device_directory(session.host, lun);
    if !at.exists() {
        let file = PathBuf::from(format!("/sys/class/scsi_host/host{}/scan", session.host));
        fs::write(&file, format!("0 0 {lun}")).doing(|| format!("scan {} for unit {lun}", session.name))?;
    }
    while at.exists() {
        // Known to sysfs and opened under one name: udev or devtmpfs has made the node.
        if let Some(name) = block::list(&at.join("block")).into_iter().next()
            && Path::new("/dev").join(&name).exists()
        {
            return Ok(Some(name));
        }
        if since.elapsed() > APPEARS {
            break;
        }
        std::thread::park_timeout(PAUSE);
    }
    Ok(None)
}

fn device_directory(host: u32, lun: u16) -> PathBuf {
    PathBuf::from(format!("/sys/class/scsi_device/{host}:0:0:{lun}/device"))
}

/// SCSI devices of a session.
fn devices(session: &Path) -> Vec<String> {
    let targets = block::list(session).into_iter().filter(|n| n.starts_with("target"));
    targets
        .flat_map(|t| block::list(&session.join(t)))
        .filter(|n| n.split(':').count() == 4 && n.starts_with(|c: char| c.is_ascii_digit()))
        .collect()
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|t| t.trim().to_owned())
}
