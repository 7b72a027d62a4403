//! Sessions with the storages of a network: who may change them, and which of them are ours.
//!
//! A session that somebody else made is used but never ended. So before one is made, that is written down, with the
//! portals it is wanted by, in a file below the mounts root; it counts until the machine is started anew.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::VolumeId;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::error::{Doing, HostError, Result};
use crate::host::Paths;
use crate::lock::{Hold, Locks};

#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) paths: Paths,
    locks: Locks<String>,
    directory: PathBuf,
    boot: String,
    /// Portals that did not let us in a moment ago.
    dead: Mutex<HashMap<(String, String), Instant>>,
}

/// What is known of a target or subsystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    boot: String,
    pub(crate) protocol: Protocol,
    pub(crate) target: String,
    /// All it was last wanted by.
    pub(crate) portals: BTreeSet<String>,
    /// Those whose session is ours.
    made: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Protocol {
    Iscsi,
    Nvme,
}

const DIRECTORY: &str = ".sessions";
/// How long the other portals may take when one has let us in.
const LATECOMERS: Duration = Duration::from_secs(3);
/// How long a portal that did not is left alone, as long as there is another.
const REST: Duration = Duration::from_secs(30);

impl Sessions {
    /// # Errors
    /// The kernel does not say which of its starts this is.
    pub(crate) fn open(mounts_root: &Path, paths: Paths) -> Result<Sessions> {
        let path = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(path).doing(|| format!("read {path}"))?.trim().to_owned();
        let directory = mounts_root.join(DIRECTORY);
        Ok(Sessions { paths, locks: Locks::new(), directory, boot, dead: Mutex::default() })
    }

    /// Nobody else joins or leaves the target meanwhile.
    pub(crate) async fn hold(&self, target: &str) -> Hold {
        self.locks.hold(target.to_owned()).await
    }

    /// Notes by which portals a target is wanted.
    pub(crate) fn want(&self, protocol: Protocol, target: &str, portals: &[String]) -> Result<()> {
        self.change(protocol, target, |record| record.portals = portals.iter().cloned().collect())
    }

    /// Notes that the session by a portal, which is not there yet, is ours.
    fn claim(&self, protocol: Protocol, target: &str, portal: &str) -> Result<()> {
        self.change(protocol, target, |record| {
            record.made.insert(plain(portal));
        })
    }

    pub(crate) fn is_ours(&self, target: &str, portal: &str) -> bool {
        self.find(target).is_some_and(|record| record.is_ours(portal))
    }

    /// What is known of a target since this start of the machine; a damaged file is no proof of anything.
    pub(crate) fn find(&self, target: &str) -> Option<Record> {
        let text = fs::read(self.file(target)).ok()?;
        serde_json::from_slice(&text).ok().filter(|record: &Record| record.boot == self.boot)
    }

    /// All targets known since this start of the machine.
    pub(crate) fn list(&self) -> Vec<Record> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        // One that is being written begins with a dot.
        let names = entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| !n.starts_with('.'));
        names.filter_map(|name| self.find(&name)).collect()
    }

    /// Drops what is known of a target that has no session of ours left.
    pub(crate) fn forget(&self, target: &str) -> Result<()> {
        match fs::remove_file(self.file(target)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).doing(|| self.doing(target)),
            _ => Ok(()),
        }
    }

    /// Joins a target by several portals at once, and says how the first that failed did.
    ///
    /// # Behavior
    /// As soon as one has joined (or `joined` says that one had before) the others get a short time more: the healing
    /// joins those that are missing when they are back. A portal that failed a moment ago is then not tried at all.
    pub(crate) async fn join<F>(
        &self,
        volume: &VolumeId,
        (protocol, target): (Protocol, &str),
        portals: Vec<String>,
        mut joined: bool,
        join: impl Fn(String) -> F,
    ) -> Option<HostError>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut first = None;
        let mut tasks = JoinSet::new();
        for portal in portals {
            if joined && (self.paths == Paths::One || self.is_dead(target, &portal)) {
                continue;
            }
            if let Err(error) = self.claim(protocol, target, &portal) {
                self.failed(volume, target, &portal, error, &mut first);
                continue;
            }
            if self.paths == Paths::One {
                match join(portal.clone()).await {
                    Ok(()) => joined = true,
                    Err(error) => self.failed(volume, target, &portal, error, &mut first),
                }
                continue;
            }
            let work = join(portal.clone());
            self.bury(target, &portal);
            tasks.spawn(async move { (portal, work.await) });
        }
        let far = Duration::from_secs(24 * 60 * 60);
        let mut until = Instant::now() + if joined { LATECOMERS } else { far };
        while let Ok(Some(ended)) = tokio::time::timeout_at(until.into(), tasks.join_next()).await {
            match ended {
                Ok((portal, Ok(()))) => {
                    self.revive(target, &portal);
                    if !joined {
                        (joined, until) = (true, Instant::now() + LATECOMERS);
                    }
                }
                Ok((portal, Err(error))) => self.failed(volume, target, &portal, error, &mut first),
                Err(_) => {}
            }
        }
        first
    }

    fn failed(
        &self,
        volume: &VolumeId,
        target: &str,
        portal: &str,
        error: HostError,
        first: &mut Option<HostError>,
    ) {
        tracing::warn!(%volume, target, portal, %error, "this portal is not joined");
        self.bury(target, portal);
        first.get_or_insert(error);
    }

    fn is_dead(&self, target: &str, portal: &str) -> bool {
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.get(&(target.to_owned(), portal.to_owned())).is_some_and(|since| since.elapsed() < REST)
    }

    fn bury(&self, target: &str, portal: &str) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.retain(|_, since| since.elapsed() < REST);
        dead.insert((target.to_owned(), portal.to_owned()), Instant::now());
    }

    fn revive(&self, target: &str, portal: &str) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.remove(&(target.to_owned(), portal.to_owned()));
    }

    fn change(&self, protocol: Protocol, target: &str, change: impl FnOnce(&mut Record)) -> Result<()> {
        let known = self.find(target).filter(|record| record.protocol == protocol);
        let mut record = known.clone().unwrap_or_else(|| Record {
            boot: self.boot.clone(),
            protocol,
            target: target.to_owned(),
            portals: BTreeSet::new(),
            made: BTreeSet::new(),
        });
        change(&mut record);
        if known.as_ref() == Some(&record) {
            return Ok(());
        }
        let doing = || self.doing(target);
        fs::create_dir_all(&self.directory).doing(doing)?;
        let text = serde_json::to_vec(&record).map_err(io::Error::other).doing(doing)?;
        // It need not outlive a loss of power: neither do the sessions. Half of it is no record.
        let fresh = self.directory.join(format!(".{target}.new"));
        fs::write(&fresh, text).doing(doing)?;
        fs::rename(&fresh, self.file(target)).doing(doing)
    }

    fn file(&self, target: &str) -> PathBuf {
        self.directory.join(target)
    }

    fn doing(&self, target: &str) -> String {
        format!("note whose the sessions are in {}", self.file(target).display())
    }
}

impl Record {
    pub(crate) fn is_ours(&self, portal: &str) -> bool {
        self.made.contains(&plain(portal))
    }

    /// The portals whose session is ours.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &str> {
        self.made.iter().map(String::as_str)
    }
}

/// The one spelling of an address that has several.
fn plain(portal: &str) -> String {
    portal.parse().map_or_else(|_| portal.to_owned(), |portal: SocketAddr| portal.to_string())
}
