//! NVMe over TCP, by the kernel's own files: `/dev/nvme-fabrics` and sysfs.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::{NamespaceId, NvmeRoute};

use super::portal;
use crate::device::Device;
use crate::device::block::{self, Block, Proof};
use crate::error::{Doing, HostError, Result};
use crate::filesystem::Tools;
use crate::identity;
use crate::lock::blocking;
use crate::stage::Places;

const FABRICS: &str = "/dev/nvme-fabrics";
const SUBSYSTEMS: &str = "/sys/class/nvme-subsystem";
const HOST_ID: &str = "/etc/nvme/hostid";
/// NVMe base specification 2.0, 4.5: a qualified name has at most 223 bytes.
const LONGEST_NAME: usize = 223;
const APPEARS: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// Connects to each portal and finds the namespace.
///
/// # Behavior
/// A portal that does not answer is left out as long as one does. The kernel's own multipath makes one device.
///
/// # Errors
/// No portal answered; `Missing` when the subsystem does not show the namespace.
pub(crate) async fn connect(places: &Places, route: &NvmeRoute, tools: &Tools) -> Result<Block> {
    let host = host(places, route)?;
    let portals = portal::parse(&route.portals)?;
    let mut tasks = tokio::task::JoinSet::new();
    for portal in portals {
        let (route, host, tools) = (route.clone(), host.clone(), tools.clone());
        tasks.spawn(async move {
            let work = blocking(&tools.hold, move || join(&route.subsystem, portal, &host));
            let ended = tokio::time::timeout(tools.limits.quick, work).await;
            let late = || HostError::System {
                doing: format!("connect to {portal}"),
                hint: "it did not answer in time".to_owned(),
                source: io::ErrorKind::TimedOut.into(),
            };
            (portal, ended.unwrap_or_else(|_| Err(late())))
        });
    }
    let mut failures = Vec::new();
    let mut joined = 0;
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((_, Ok(()))) => joined += 1,
            Ok((portal, Err(error))) => failures.push((portal, error)),
            Err(_) => {}
        }
    }
    if joined == 0
        && let Some((_, error)) = failures.pop()
    {
        return Err(error);
    }
    for (portal, error) in failures {
        tracing::warn!(volume = %places.volume, %portal, %error, "a path is missing; it is joined when it is back");
    }
    let (places, route) = (places.clone(), route.clone());
    blocking(&tools.hold, move || find(&places, &route)).await
}

/// The subsystem that a namespace's device belongs to.
pub(crate) fn subsystem_of(name: &str) -> Option<PathBuf> {
    let device = fs::canonicalize(block::sysfs(name)).ok()?;
    let above = device.parent()?.to_owned();
    above.join("subsysnqn").exists().then_some(above)
}

/// Ends all connections to a subsystem, unless one of its namespaces is in use, by us or anybody.
pub(crate) fn disconnect(subsystem: &Path) -> Result<()> {
    for name in namespaces(subsystem) {
        let path = Path::new("/dev").join(&name);
        let used = || {
            let flags = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or_default();
            let mut options = OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
            options.read(true).open(&path).is_err_and(|e| e.kind() == io::ErrorKind::ResourceBusy)
        };
        if !block::holders(&name).is_empty() || used() {
            return Ok(());
        }
    }
    for controller in controllers(subsystem) {
        let file = subsystem.join(&controller).join("delete_controller");
        match fs::write(&file, "1") {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(e).doing(|| format!("disconnect {controller}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads the sizes of a subsystem's namespaces anew.
pub(crate) fn rescan(subsystem: &Path) -> Result<()> {
    for controller in controllers(subsystem) {
        let file = subsystem.join(&controller).join("rescan_controller");
        fs::write(&file, "1").doing(|| format!("rescan {controller}"))?;
    }
    Ok(())
}

/// Host NQN and host id as the kernel takes them.
fn host(places: &Places, route: &NvmeRoute) -> Result<String> {
    let legal = |name: &str| {
        name.starts_with("nqn.")
            && name.len() <= LONGEST_NAME
            && !name.contains(|c: char| c == ',' || c.is_whitespace())
    };
    let invalid = |what, value: &str| HostError::Invalid {
        what,
        value: value.escape_default().to_string(),
        problem: format!("is no NVMe name; it begins with `nqn.` and has at most {LONGEST_NAME} bytes"),
    };
    if !legal(&route.subsystem) {
        return Err(invalid("NVMe subsystem", &route.subsystem));
    }
    if !Path::new(FABRICS).exists() || !Path::new("/sys/module/nvme_tcp").exists() {
        return Err(HostError::Unsupported {
            volume: places.volume.clone(),
            problem: "the kernel module `nvme-tcp` is not loaded on this node; `modprobe nvme-tcp`, or install the \
                      kernel's package of modules"
                .to_owned(),
        });
    }
    let Some(nqn) = identity::line(Path::new(identity::HOST_NQN)) else {
        return Err(HostError::Unsupported {
            volume: places.volume.clone(),
            problem: format!(
                "this node has no NVMe name; write one into {} (`nvme gen-hostnqn`, Debian package nvme-cli)",
                identity::HOST_NQN
            ),
        });
    };
    if !legal(&nqn) {
        return Err(invalid("host NQN", &nqn));
    }
    let id = identity::line(Path::new(HOST_ID));
    let id = id.filter(|id| id.chars().all(|c| c.is_ascii_hexdigit() || c == '-'));
    Ok(id.map_or_else(|| format!("hostnqn={nqn}"), |id| format!("hostnqn={nqn},hostid={id}")))
}

/// Connects one portal; one that is connected is as good.
fn join(subsystem: &str, portal: SocketAddr, host: &str) -> Result<()> {
    if is_connected(subsystem, portal) {
        return Ok(());
    }
    let doing = || format!("connect to {portal} for {subsystem}");
    let order = format!(
        "transport=tcp,traddr={},trsvcid={},nqn={subsystem},{host},reconnect_delay=2,ctrl_loss_tmo=-1",
        portal.ip(),
        portal.port()
    );
    let mut fabrics = OpenOptions::new().read(true).write(true).open(FABRICS).doing(doing)?;
    match fabrics.write_all(order.as_bytes()) {
        Err(e) if rustix::io::Errno::from_io_error(&e) == Some(rustix::io::Errno::ALREADY) => return Ok(()),
        written => {
            written.map_err(|source| HostError::System { doing: doing(), hint: advice(&source), source })?
        }
    }
    let mut answer = String::new();
    fabrics.read_to_string(&mut answer).doing(doing)?;
    Ok(())
}

fn advice(error: &io::Error) -> String {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => "nothing listens there".to_owned(),
        Some(Errno::IO) => "the subsystem does not know this host, or is not there".to_owned(),
        _ => "see `dmesg`".to_owned(),
    }
}

fn is_connected(subsystem: &str, portal: SocketAddr) -> bool {
    let wanted = [format!("traddr={}", portal.ip()), format!("trsvcid={}", portal.port())];
    find_subsystem(subsystem).is_some_and(|at| {
        controllers(&at).iter().any(|c| {
            let address = fs::read_to_string(at.join(c).join("address")).unwrap_or_default();
            let fields: Vec<&str> = address.trim().split(',').collect();
            wanted.iter().all(|w| fields.contains(&w.as_str()))
        })
    })
}

fn find(places: &Places, route: &NvmeRoute) -> Result<Block> {
    let since = Instant::now();
    let (attribute, id) = match &route.namespace {
        NamespaceId::Nguid(id) => ("nguid", id.clone()),
        NamespaceId::Uuid(id) => ("uuid", id.clone()),
    };
    let mut rescanned = false;
    loop {
        let subsystem = find_subsystem(&route.subsystem);
        let names = subsystem.as_deref().map(namespaces).unwrap_or_default();
        let ours =
            |n: &String| block::attribute_of(n, attribute).is_some_and(|found| block::same_id(&found, &id));
        if let Some(name) = names.into_iter().find(ours) {
            let proof = Proof::Namespace { attribute, id };
            let found = Block { volume: places.volume.clone(), name, proof };
            if found.path().exists() {
                return Ok(found);
            }
            return Err(HostError::System {
                doing: format!("find {}", found.path().display()),
                hint: "the kernel has the device and /dev has not".to_owned(),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        if let Some(subsystem) = subsystem.filter(|_| !rescanned) {
            rescanned = true;
            rescan(&subsystem)?;
        }
        if since.elapsed() > APPEARS {
            return Err(HostError::Missing {
                volume: places.volume.clone(),
                problem: format!(
                    "the subsystem {} does not show a namespace with the {attribute} {id} to this node",
                    route.subsystem
                ),
            });
        }
        std::thread::park_timeout(PAUSE);
    }
}

fn find_subsystem(nqn: &str) -> Option<PathBuf> {
    let all = block::list(Path::new(SUBSYSTEMS)).into_iter();
    let mut all = all.filter_map(|n| fs::canonicalize(Path::new(SUBSYSTEMS).join(n)).ok());
    all.find(|at| fs::read_to_string(at.join("subsysnqn")).is_ok_and(|found| found.trim() == nqn))
}

/// `nvme0`, `nvme1`, by the links in the subsystem's directory.
fn controllers(subsystem: &Path) -> Vec<String> {
    let number = |n: &String| n.strip_prefix("nvme").is_some_and(|r| r.chars().all(|c| c.is_ascii_digit()));
    block::list(subsystem).into_iter().filter(number).collect()
}

/// The devices of a subsystem's namespaces; single paths (`nvme0c0n1`) are not among them.
fn namespaces(subsystem: &Path) -> Vec<String> {
    let head = |n: &String| {
        n.strip_prefix("nvme").and_then(|r| r.split_once('n')).is_some_and(|(a, b)| {
            [a, b].iter().all(|t| !t.is_empty() && t.chars().all(|c| c.is_ascii_digit()))
        })
    };
    block::list(subsystem).into_iter().filter(head).collect()
}
