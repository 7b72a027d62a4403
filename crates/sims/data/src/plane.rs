//! The pool and the machine, following the array's state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use filer::{CreateVolume, FilerError, Layout, Pool, PoolSpec, Watch};
use model::Bytes;
use sim_ontap::{Backing, State};

use crate::content::{self, Content, Contents, Replacement};
use crate::kernel::{Kernel, Places, Result, failed};
use crate::wires::{self, Wires};

/// Where the storage behind an array is, and what it serves.
#[derive(Clone, Debug)]
pub struct PlaneSpec {
    /// A directory on a mounted btrfs or XFS; all of it is the array's.
    pub dir: PathBuf,
    pub nfs: bool,
    pub iscsi: bool,
    pub nvme: bool,
}

/// Real storage behind an array.
#[derive(Debug)]
pub struct Plane {
    pool: Pool,
    /// The array's state, as it was when it last changed.
    file: PathBuf,
    kernel: Kernel,
    /// Where content is; what the pool says of it once stays so until it is replaced.
    known: Mutex<BTreeMap<String, PathBuf>>,
}

const OWNER: &str = "sim-ontap";
/// The pool promises what the array promises, which has limits of its own.
const OVERCOMMIT: f64 = 1e9;
/// The least that the pool can make.
const SMALLEST: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Until volumes rest that no client can write to.
const ATTEMPTS: usize = 20;

impl Plane {
    /// Opens the pool, and finds what serves it.
    ///
    /// # Errors
    /// `NotFound` without the directory, `Unsupported` when no pool can be there or this machine lacks a wire,
    /// `Conflict` when another process has it.
    pub fn open(spec: &PlaneSpec) -> std::result::Result<Plane, FilerError> {
        let mut pool = PoolSpec::named(&spec.dir.to_string_lossy(), OWNER)?;
        pool.overcommit = OVERCOMMIT;
        let pool = Pool::open(&pool)?;
        let kernel = Kernel::open(spec.nfs, spec.iscsi, spec.nvme)?;
        Ok(Plane { pool, file: spec.dir.join("array.json"), kernel, known: Mutex::default() })
    }

    /// The bytes that all volumes can hold together.
    ///
    /// # Errors
    /// What the pool says.
    pub fn capacity(&self) -> std::result::Result<u64, FilerError> {
        Ok(self.pool.stats()?.capacity.get())
    }

    /// The state that the array had when it last ended, in whatever way.
    ///
    /// # Errors
    /// `Invalid` when the file with it cannot be used; `NotFound` when it is gone and the volumes are there.
    pub fn load(&self) -> std::result::Result<Option<State>, FilerError> {
        let dump = sim_kit::load(&self.file).map_err(|error| failed("read", &self.file, error))?;
        if let Some(dump) = dump {
            let state = State::from_dump(&dump).filter(|state| state.count("cluster") == 1);
            let foreign = || {
                FilerError::Invalid(format!(
                    "{} holds no state of this simulator: put back a copy",
                    self.file.display()
                ))
            };
            return state.ok_or_else(foreign).map(Some);
        }
        match self.pool.list()?.len() {
            0 => Ok(None),
            count => Err(FilerError::NotFound(format!(
                "{} is gone, and without it the {count} volumes of the array in {} are nobody's: put it back, or take the \
                 directory `volumes` away to begin anew",
                self.file.display(),
                self.pool.path().display()
            ))),
        }
    }

    /// Makes the machine what the array's state says, when the array begins: with what it had, or as a `new` one.
    ///
    /// # Errors
    /// `NotFound` when the pool lacks content that the state has; else what the pool or the kernel says.
    pub fn begin(&self, state: &State, new: bool) -> std::result::Result<(), FilerError> {
        let wanted = content::of(state);
        let mut there = BTreeMap::new();
        for volume in self.pool.list()? {
            let snapshots = self.pool.list_snapshots(&volume.handle)?;
            let names: BTreeSet<String> = snapshots.into_iter().map(|snapshot| snapshot.name).collect();
            there.insert(volume.handle, names);
        }
        for (handle, content) in &wanted {
            if new {
                self.create(handle, content)?;
            } else if there.get(handle).is_none_or(|names| !names.is_superset(&content.snapshots)) {
                return Err(FilerError::NotFound(format!(
                    "the pool in {} lacks `{handle}`, or a snapshot of it, which the array's state has: bring it back",
                    self.pool.path().display()
                )));
            }
        }
        self.kernel.serve(&wires::of(state), self)?;
        self.save(state)?;
        for (handle, names) in there {
            let keep = wanted.get(&handle).map(|content| &content.snapshots);
            self.delete(
                &handle,
                names.iter().filter(|name| keep.is_some_and(|keep| !keep.contains(*name))),
                keep.is_none(),
            );
        }
        self.kernel.answer()
    }

    fn follow_from(&self, before: &State, after: &State) -> Result<()> {
        let (old, new) = (content::of(before), content::of(after));
        let replaced = content::replaced(before, after);
        self.add(&old, &new, before)?;
        let wires = wires::of(after);
        if !replaced.is_empty() {
            let handles: BTreeSet<&str> = replaced.iter().map(Replacement::handle).collect();
            self.kernel.serve(&wires.without(&handles), self)?;
            replaced.iter().try_for_each(|replacement| self.replace(replacement, &new))?;
        }
        self.kernel.serve(&wires, self)?;
        self.grow(&old, &new, &wires)?;
        // What is deleted from here on must not be missed by whoever reads the state after a death.
        self.save(after)?;
        for (handle, content) in &old {
            let keep = new.get(handle).map(|content| &content.snapshots);
            let gone = content.snapshots.iter().filter(|name| keep.is_some_and(|keep| !keep.contains(*name)));
            self.delete(handle, gone, keep.is_none());
        }
        Ok(())
    }

    /// Takes snapshots first: what is new may begin with them.
    fn add(&self, old: &Contents, new: &Contents, before: &State) -> Result<()> {
        let mut taken = Vec::new();
        for (handle, content) in new {
            let Some(was) = old.get(handle) else { continue };
            let names = content.snapshots.difference(&was.snapshots);
            taken.extend(names.map(|name| (handle.as_str(), name.as_str())));
        }
        self.take(&taken, before)?;
        for (handle, content) in new {
            match old.get(handle) {
                None => self.create(handle, content)?,
                Some(was) if was.owner != content.owner => self.own(handle, content)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Takes snapshots, all of one instant.
    fn take(&self, taken: &[(&str, &str)], before: &State) -> Result<()> {
        let take = || taken.iter().try_for_each(|(handle, name)| self.pool.take(handle, name).map(drop));
        let written = match taken {
            // One is of one instant by itself.
            [] | [_] => return take(),
            _ => wires::of(before),
        };
        if taken.iter().filter(|(handle, _)| written.serve(handle)).count() < 2 {
            return take();
        }
        let _gate = self.kernel.shut()?;
        for _ in 0..ATTEMPTS {
            // What came before the gate was shut is under way for a moment.
            let watch = File::open(self.pool.path()).and_then(|pool| Ok(Watch::begin(pool)?));
            let watch = watch.map_err(|error| failed("look at", self.pool.path(), error))?;
            take()?;
            let rested = |(handle, _): &(&str, &str)| {
                let place = self.place(handle)?;
                let looked = File::open(&place).and_then(|content| Ok(watch.saw_no_change(content)?));
                looked.map_err(|error| failed("look at", &place, error))
            };
            if taken.iter().map(rested).collect::<Result<Vec<_>>>()?.iter().all(|rested| *rested) {
                return Ok(());
            }
            taken.iter().try_for_each(|(handle, name)| self.pool.delete_snapshot(handle, name).map(drop))?;
        }
        Err(FilerError::Busy("the volumes are written to though no client can: try again".to_owned()))
    }

    fn create(&self, handle: &str, content: &Content) -> Result<()> {
        let mut wanted = CreateVolume::new(handle, Bytes::new(pool_size(content)));
        wanted.layout = content.layout;
        wanted.source.clone_from(&content.origin);
        if content.layout == Layout::File {
            wanted.mode = content.owner.mode;
            wanted.uid = content.owner.uid;
            wanted.gid = content.owner.gid;
        }
        self.pool.create(&wanted)?;
        content.snapshots.iter().try_for_each(|name| self.pool.take(handle, name).map(drop))
    }

    /// The permissions of a volume's root were changed.
    fn own(&self, handle: &str, content: &Content) -> Result<()> {
        let place = self.place(handle)?;
        if let Some(mode) = content.owner.mode {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&place, mode).map_err(|error| failed("change", &place, error))?;
        }
        std::os::unix::fs::chown(&place, content.owner.uid, content.owner.gid)
            .map_err(|error| failed("change the owner of", &place, error))
    }

    fn grow(&self, old: &Contents, new: &Contents, wires: &Wires) -> Result<()> {
        for (handle, content) in new {
            // The pool makes nothing smaller: what the array makes smaller keeps its room.
            if old.get(handle).is_some_and(|was| was.size < content.size) {
                let has = self.pool.find(handle)?.map_or(0, |volume| volume.size.get());
                let size = pool_size(content).max(has);
                self.pool.grow(handle, Bytes::new(size))?;
                if content.layout == Layout::Block {
                    self.kernel.grown(wires, handle, Bytes::new(content.size))?;
                }
            }
        }
        Ok(())
    }

    fn replace(&self, replacement: &Replacement, new: &Contents) -> Result<()> {
        match replacement {
            Replacement::Restore { handle, snapshot } => {
                self.known().remove(handle);
                self.pool.restore(handle, snapshot).map(drop)
            }
            Replacement::Overwrite { handle, by } => {
                let size = new.get(handle).map_or(0, pool_size);
                if self.pool.find(handle)?.is_some_and(|volume| volume.size.get() < size) {
                    self.pool.grow(handle, Bytes::new(size))?;
                }
                overwrite(&self.place(handle)?, &self.place(by)?)
            }
        }
    }

    /// What cannot be deleted now goes with the next start.
    fn delete<'a>(&self, handle: &str, mut snapshots: impl Iterator<Item = &'a String>, whole: bool) {
        let mut done = snapshots.try_for_each(|name| self.pool.delete_snapshot(handle, name).map(drop));
        if whole {
            self.known().remove(handle);
            done = done.and_then(|()| self.pool.delete_whole(handle).map(drop));
        }
        if let Err(error) = done {
            tracing::warn!(handle, "what the array has deleted stays for now: {}", said(&error));
        }
    }

    fn save(&self, state: &State) -> Result<()> {
        let saved = sim_kit::save(&self.file, &state.dump());
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        let durable = saved.and_then(|()| File::open(folder)?.sync_all());
        durable.map_err(|error| failed("write", &self.file, error))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places for Plane {
    fn place(&self, handle: &str) -> Result<PathBuf> {
        if let Some(place) = self.known().get(handle) {
            return Ok(place.clone());
        }
        let found = self.pool.find(handle)?;
        let found =
            found.ok_or_else(|| FilerError::NotFound(format!("the pool has no volume `{handle}`")))?;
        let place = found.served.path().to_owned();
        self.known().insert(handle.to_owned(), place.clone());
        Ok(place)
    }
}

impl Backing for Plane {
    fn follow(&self, before: &State, after: &State) -> std::result::Result<(), String> {
        let Err(error) = self.follow_from(before, after) else { return Ok(()) };
        // What had been added is taken again, and all is served as it was.
        let (old, new) = (content::of(before), content::of(after));
        if let Err(also) = self.kernel.serve(&wires::of(before), self) {
            tracing::warn!("what was served before cannot be served again: {}", said(&also));
        }
        for (handle, content) in &new {
            let was = old.get(handle).map(|was| &was.snapshots);
            let added = content.snapshots.iter().filter(|name| was.is_some_and(|was| !was.contains(*name)));
            self.delete(handle, added, was.is_none());
        }
        Err(said(&error))
    }
}

impl Replacement {
    fn handle(&self) -> &str {
        match self {
            Replacement::Restore { handle, .. } | Replacement::Overwrite { handle, .. } => handle,
        }
    }
}

/// Whole pages, and never less than the pool can make.
fn pool_size(content: &Content) -> u64 {
    content.size.max(SMALLEST).next_multiple_of(PAGE)
}

/// Makes an image's content that of another, in one step; both go on to share it.
fn overwrite(image: &Path, by: &Path) -> Result<()> {
    let failed = |error: std::io::Error| failed("overwrite", image, error);
    let source = File::open(by).map_err(failed)?;
    let target = File::options().write(true).open(image).map_err(failed)?;
    let (longer, length) =
        (target.metadata().map_err(failed)?.len(), source.metadata().map_err(failed)?.len());
    rustix::fs::ioctl_ficlone(&target, &source).map_err(|error| failed(error.into()))?;
    if longer > length {
        target.set_len(length).and_then(|()| target.set_len(longer)).map_err(failed)?;
    }
    target.sync_all().map_err(failed)
}

fn said(error: &FilerError) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said.push_str(&format!(": {error}"));
        cause = error.source();
    }
    said
}
