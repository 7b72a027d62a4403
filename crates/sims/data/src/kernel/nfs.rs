//! Junctions: directories of the pool, bound where clients look for them, and one table of exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use filer::FilerError;
use filer::access::configfs::directory;
use filer::access::{Bound, NfsServer, NfsSettings};

use super::{Places, Result, failed};
use crate::wires::Share;

/// What is `/` for clients.
const ROOT: &str = "/run/leister-array/nfs";
/// Read by `exportfs` beside `/etc/exports`; all of it is ours.
const TABLE: &str = "/etc/exports.d/leister-array.exports";
const THREADS: u16 = 8;
/// The least that there can be.
const GRACE_SECONDS: u16 = 10;

#[derive(Debug)]
pub(super) struct Nfs {
    server: NfsServer,
}

impl Nfs {
    pub(super) fn open() -> Result<Nfs> {
        let settings = NfsSettings { root: ROOT.into(), threads: THREADS, grace_seconds: GRACE_SECONDS };
        let server = NfsServer::open(&settings)?;
        if server.root() != Path::new(ROOT) {
            return Err(FilerError::Conflict(format!(
                "this machine's NFS server has {} for its root: it serves others, and paths of the array would not be \
                 what clients are told; use a machine without exports",
                server.root().display()
            )));
        }
        directory(Path::new(TABLE).parent().unwrap_or(Path::new("/")))?;
        Ok(Nfs { server })
    }

    pub(super) fn answer(&self) -> Result<()> {
        self.server.start()
    }

    pub(super) fn serve(&self, shares: &BTreeMap<String, Share>, places: &dyn Places) -> Result<()> {
        let mut sources = BTreeMap::new();
        for (path, share) in shares {
            sources.insert(inside(path), places.place(&share.handle)?);
        }
        let (bound, stale) = self.bound(&sources)?;
        if !stale.is_empty() {
            // What is about to be let go is exported to nobody, then.
            self.export(shares.iter().filter(|(path, _)| bound.contains(&inside(path))))?;
            for place in stale.iter().rev() {
                self.server.release(place)?;
            }
        }
        for (place, source) in &sources {
            if self.server.bind(source, place)? == Bound::ToOther {
                return Err(FilerError::Busy(format!(
                    "{} is still bound to something else",
                    place.display()
                )));
            }
        }
        self.export(shares.iter())
    }

    /// Places of ours: those that show what they shall, and those that do not.
    fn bound(&self, sources: &BTreeMap<PathBuf, PathBuf>) -> Result<(BTreeSet<PathBuf>, BTreeSet<PathBuf>)> {
        let table = Path::new("/proc/self/mounts");
        let mounts = fs::read_to_string(table).map_err(|error| failed("read", table, error))?;
        let places =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(unescaped).map(PathBuf::from);
        let ours: BTreeSet<PathBuf> =
            places.filter(|place| place.parent().is_some_and(|above| above.starts_with(ROOT))).collect();
        let (mut bound, mut stale) = (BTreeSet::new(), BTreeSet::<PathBuf>::new());
        for place in ours {
            let shows = match sources.get(&place) {
                Some(source) => self.server.bind(source, &place)? != Bound::ToOther,
                None => false,
            };
            // What lies in a stale one is bound anew after it.
            let is_sound = shows && !stale.iter().any(|above| place.starts_with(above));
            if is_sound {
                bound.insert(place)
            } else {
                stale.insert(place)
            };
        }
        Ok((bound, stale))
    }

    fn export<'a>(&self, shares: impl Iterator<Item = (&'a String, &'a Share)>) -> Result<()> {
        let mut wanted = String::new();
        for (path, share) in shares.filter(|(_, share)| !share.clients.is_empty()) {
            let clients: Vec<String> =
                share.clients.iter().map(|(client, options)| format!("{client}({options})")).collect();
            // A `String` takes all that is written to it.
            let _ = writeln!(wanted, "\"{path}\" {}", clients.join(" "));
        }
        let table = Path::new(TABLE);
        if fs::read_to_string(table).is_ok_and(|there| there == wanted) {
            return Ok(());
        }
        // `exportfs` looks by itself whenever it is run: it must never see half of it.
        let new = table.with_extension("new");
        fs::write(&new, wanted).map_err(|error| failed("write", &new, error))?;
        fs::rename(&new, table).map_err(|error| failed("rename", &new, error))?;
        self.server.read_exports()
    }
}

fn inside(path: &str) -> PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

/// As `/proc/mounts` writes a path.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
