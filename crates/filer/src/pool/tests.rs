use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use model::{Bytes, NodeIdentity, NodeName, Permit};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, unmount};
use tempfile::TempDir;

use super::ground::Ground;
use super::{Image, Pool, PoolSpec};
use crate::error::{ErrorKind, FilerError};
use crate::volume::{CreateVolume, Layout, Outcome, Provisioning, Source, VolumeState};

mod btrfs;
mod deaths;
mod guest;
mod opening;
mod watch;
mod xfs;

const MIB: u64 = 1 << 20;

/// Set in a guest: the disk there on which the pools of these tests are, on XFS. Without it they are on btrfs.
const DISK: &str = "FILER_XFS_DISK";

/// A pool of 1 GiB in a directory of its own; unmounted and removed when dropped.
struct Rig {
    dir: TempDir,
    spec: PoolSpec,
    pool: Option<Pool>,
    ground: Ground,
}

impl Rig {
    /// On the file system whose turn it is.
    fn new() -> Option<Rig> {
        match std::env::var(DISK) {
            Ok(disk) => Some(Rig::make_xfs(&disk, &[])),
            Err(_) => Rig::on_btrfs(),
        }
    }

    fn on_btrfs() -> Option<Rig> {
        if std::env::var(DISK).is_ok() {
            println!("does not apply: this is about btrfs");
            return None;
        }
        let mkfs = Command::new("mkfs.btrfs").arg("--version").output();
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() || mkfs.is_err()
        {
            println!("skipped: needs root, loop devices and mkfs.btrfs");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let image = Image { path: dir.path().join("pool.img"), size: Bytes::gib(1), preallocate: false };
        let spec = PoolSpec::in_image(dir.path().join("pool"), image, "us");
        let pool = Pool::make(&spec).unwrap();
        Some(Rig { dir, spec, pool: Some(pool), ground: Ground::Btrfs })
    }

    fn on_xfs() -> Option<Rig> {
        let Ok(disk) = std::env::var(DISK) else {
            println!("does not apply: this is about XFS, which is for the guest");
            return None;
        };
        Some(Rig::make_xfs(&disk, &[]))
    }

    /// Everything that was on the disk is gone then.
    fn make_xfs(disk: &str, options: &[&str]) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        fs::create_dir(&path).unwrap();
        let made = Command::new("mkfs.xfs").args(["-q", "-f"]).args(options).arg(disk).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let spec = PoolSpec::mounted(&path, "us");
        let mut rig = Rig { dir, spec, pool: None, ground: Ground::Xfs };
        mount_xfs(disk, &path, "prjquota");
        rig.pool = Pool::open(&rig.spec).inspect_err(|error| println!("{error}")).ok();
        rig
    }

    /// What a write gets that would go past a volume's size.
    fn full(&self) -> Errno {
        match self.ground {
            Ground::Btrfs => Errno::DQUOT,
            Ground::Xfs => Errno::NOSPC,
        }
    }

    fn pool(&self) -> &Pool {
        self.pool.as_ref().unwrap()
    }

    /// Ends without a goodbye and opens again, as after a kill.
    fn reopen(&mut self) {
        self.pool = None;
        self.pool = Some(Pool::open(&self.spec).unwrap());
    }

    fn inside(&self, relative: &str) -> PathBuf {
        self.spec.path.join(relative)
    }

    fn as_owner(&mut self, owner: &str) {
        self.spec.owner = owner.to_owned();
        self.reopen();
    }

    fn assert_swept(&self) {
        for dir in [".staging", ".trash"] {
            assert_eq!(fs::read_dir(self.inside(dir)).unwrap().count(), 0, "{dir} is not empty");
        }
    }
}

impl Pool {
    fn btrfs(&self) -> &super::btrfs::Btrfs {
        match &self.kind {
            super::Kind::Btrfs(pool) => pool,
            _ => panic!("not on btrfs"),
        }
    }

    fn steps(&self) -> &super::steps::Steps {
        match &self.kind {
            super::Kind::Btrfs(pool) => &pool.steps,
            super::Kind::Xfs(pool) => &pool.steps,
            super::Kind::Lvm(pool) => &pool.steps,
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.pool = None;
        let _ = unmount(&self.spec.path, UnmountFlags::DETACH);
    }
}

fn mount_xfs(disk: &str, path: &Path, options: &str) {
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount(disk, path, "xfs", MountFlags::NOATIME, options.as_c_str()).unwrap();
}

fn shared(node: &str) -> Permit {
    Permit::shared(NodeIdentity::named(NodeName::new(node).unwrap()))
}

fn volume(handle: &str, mib: u64) -> CreateVolume {
    CreateVolume::new(handle, Bytes::mib(mib))
}

fn thick(handle: &str, mib: u64) -> CreateVolume {
    CreateVolume { provisioning: Provisioning::Thick, ..volume(handle, mib) }
}

fn clone_of(handle: &str, mib: u64, source: &str, snapshot: Option<&str>) -> CreateVolume {
    let handle_of_source = source.to_owned();
    let source = match snapshot {
        Some(name) => Source::Snapshot { handle: handle_of_source, name: name.to_owned() },
        None => Source::Volume { handle: handle_of_source },
    };
    CreateVolume { source: Some(source), ..volume(handle, mib) }
}

/// Writes bytes that do not compress; returns how many MiB went in before the kernel refused.
fn fill(file: &Path, mib: u64) -> (u64, Option<Errno>) {
    let block: Vec<u8> = (0..MIB).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[1]).collect();
    let mut out = match fs::File::create(file) {
        Ok(out) => out,
        Err(e) => return (0, Errno::from_io_error(&e)),
    };
    for n in 0..mib {
        if let Err(e) = out.write_all(&block) {
            return (n, Errno::from_io_error(&e));
        }
    }
    (mib, out.sync_all().err().and_then(|e| Errno::from_io_error(&e)))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(40), "waited in vain for: {what}");
        let _ =
            rustix::event::poll(&mut [], Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 }));
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, FilerError>, kind: ErrorKind, words: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "`{error}` lacks `{word}`");
    }
}

fn loops_of(image: &Path) -> usize {
    let listed = Command::new("losetup").arg("-nO").arg("NAME").arg("-j").arg(image).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().count()
}

#[test]
fn a_volume_is_made_once_found_listed_and_deleted() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let mut wanted = volume("v1", 64);
    wanted.name = "my data".to_owned();
    (wanted.mode, wanted.uid, wanted.gid) = (Some(0o750), Some(1000), Some(2000));
    wanted.labels.insert("class".to_owned(), "gold".to_owned());
    let made = pool.create(&wanted).unwrap();
    assert!(made.changed());
    let made = made.into_state();
    assert_eq!((made.size, made.owner.as_str(), made.name.as_str()), (Bytes::mib(64), "us", "my data"));
    let root = fs::metadata(made.served.path()).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o750, 1000, 2000));
    assert!(!pool.create(&wanted).unwrap().changed());
    assert_eq!(pool.find("v1").unwrap().unwrap().labels["class"], "gold");
    assert_eq!(pool.list().unwrap().len(), 1);
    refused(pool.create(&volume("v1", 65)), ErrorKind::Conflict, &["v1", "exists"]);
    assert!(pool.permit("v1", &shared("n1")).unwrap().changed());
    assert!(!pool.permit("v1", &shared("n1")).unwrap().changed());
    refused(pool.delete("v1"), ErrorKind::InUse, &["n1"]);
    assert!(pool.forbid("v1", &shared("n1").node.name).unwrap().changed());
    assert!(!pool.forbid("v1", &shared("n1").node.name).unwrap().changed());
    assert!(pool.delete("v1").unwrap().changed());
    assert!(!pool.delete("v1").unwrap().changed());
    assert_eq!(pool.find("v1").unwrap(), None);
    rig.assert_swept();
}

#[test]
fn illegal_names_are_refused_with_advice() {
    let Some(rig) = Rig::new() else { return };
    for bad in ["", "..", "a/b", ".hidden", "späte", "a\0b", &"x".repeat(201)] {
        refused(rig.pool().create(&volume(bad, 64)), ErrorKind::Invalid, &["letters"]);
        refused(rig.pool().delete(bad), ErrorKind::Invalid, &["letters"]);
        refused(rig.pool().take("v", bad), ErrorKind::Invalid, &["letters"]);
    }
    assert!(rig.pool().create(&volume(&"x".repeat(200), 64)).unwrap().changed());
    let mut labelled = volume("labelled", 64);
    labelled.labels.insert("long".to_owned(), "x".repeat(13 << 10));
    refused(rig.pool().create(&labelled), ErrorKind::Invalid, &["labels", "12 KiB"]);
    rig.assert_swept();
}

#[test]
fn volume_and_clone_hold_no_more_than_their_size() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 64)).unwrap().into_state();
    let (written, errno) = fill(&v.served.path().join("f"), 100);
    assert!((60..=64).contains(&written) && errno == Some(rig.full()), "{written} {errno:?}");
    pool.take("v", "s").unwrap();
    let c = pool.create(&clone_of("c", 64, "v", Some("s"))).unwrap().into_state();
    assert!(
        fill(&c.served.path().join("more"), 10).0 <= 2,
        "a clone of a full volume took more than its size"
    );
    let big = pool.create(&clone_of("big", 128, "v", None)).unwrap().into_state();
    assert_eq!(fs::read(big.served.path().join("f")).unwrap(), fs::read(v.served.path().join("f")).unwrap());
    let (written, _) = fill(&big.served.path().join("more"), 100);
    assert!((58..=66).contains(&written), "a larger clone took {written} MiB more");
    refused(pool.create(&clone_of("small", 32, "v", None)), ErrorKind::Invalid, &["at least"]);
    // The source's limit is as it was, and growing works while it is full.
    assert!(fill(&v.served.path().join("g"), 10).0 <= 2);
    assert!(pool.grow("v", Bytes::mib(96)).unwrap().changed());
    assert!(!pool.grow("v", Bytes::mib(96)).unwrap().changed());
    assert!((28..=34).contains(&fill(&v.served.path().join("g"), 100).0));
    refused(pool.grow("v", Bytes::mib(64)), ErrorKind::Invalid, &["shrink"]);
    let listed = pool.list().unwrap();
    let v = listed.iter().find(|state| state.handle == "v").unwrap();
    assert!(v.used > Bytes::mib(90), "{v:?}");
    // XFS does not say what is shared.
    assert!(rig.ground == Ground::Xfs || v.exclusive < Bytes::mib(40), "{v:?}");
}

#[test]
fn restore_exchanges_the_content_and_is_refused_in_use() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 64)).unwrap().into_state();
    fs::write(v.served.path().join("f"), "old").unwrap();
    pool.take("v", "s").unwrap();
    fs::write(v.served.path().join("f"), "new").unwrap();
    pool.permit("v", &shared("n1")).unwrap();
    refused(pool.restore("v", "s"), ErrorKind::InUse, &["n1"]);
    pool.forbid("v", &shared("n1").node.name).unwrap();
    refused(pool.restore("v", "none"), ErrorKind::NotFound, &["none"]);
    pool.grow("v", Bytes::mib(96)).unwrap();
    pool.restore("v", "s").unwrap();
    assert_eq!(fs::read_to_string(v.served.path().join("f")).unwrap(), "old");
    assert_eq!(pool.list_snapshots("v").unwrap().len(), 1);
    let (written, errno) = fill(&v.served.path().join("g"), 200);
    assert!((92..=96).contains(&written) && errno == Some(rig.full()), "{written} after restore");
    rig.assert_swept();
}

#[test]
fn block_volumes_have_exact_size_and_clone_and_grow() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let wanted = CreateVolume { layout: Layout::Block, ..volume("b", 64) };
    let b = pool.create(&wanted).unwrap().into_state();
    assert_eq!(fs::metadata(b.served.path()).unwrap().len(), 64 * MIB);
    fill_in_place(b.served.path(), 64);
    fill_in_place(b.served.path(), 64);
    pool.take("b", "s").unwrap();
    fill_in_place(b.served.path(), 64);
    let bigger = CreateVolume { layout: Layout::Block, ..clone_of("c", 96, "b", Some("s")) };
    let c = pool.create(&bigger).unwrap().into_state();
    assert_eq!(fs::metadata(c.served.path()).unwrap().len(), 96 * MIB);
    pool.grow("b", Bytes::mib(80)).unwrap();
    assert_eq!(fs::metadata(b.served.path()).unwrap().len(), 80 * MIB);
    pool.restore("b", "s").unwrap();
    assert_eq!(fs::metadata(b.served.path()).unwrap().len(), 80 * MIB, "a restore keeps the volume's size");
    refused(pool.create(&clone_of("file", 96, "b", None)), ErrorKind::Invalid, &["Block"]);
}

#[test]
fn another_instances_volume_is_shown_and_not_touched() {
    let Some(mut rig) = Rig::new() else { return };
    rig.pool().create(&volume("v", 64)).unwrap();
    rig.as_owner("them");
    let pool = rig.pool();
    assert_eq!(pool.find("v").unwrap().unwrap().owner, "us");
    refused(pool.create(&volume("v", 64)), ErrorKind::Conflict, &["us", "them"]);
    refused(pool.delete("v"), ErrorKind::Conflict, &["us"]);
    refused(pool.grow("v", Bytes::mib(65)), ErrorKind::Conflict, &["us"]);
    refused(pool.permit("v", &shared("n")), ErrorKind::Conflict, &["us"]);
    refused(pool.take("v", "s"), ErrorKind::Conflict, &["us"]);
}

fn fill_in_place(image: &Path, mib: u64) {
    let mut out = fs::File::options().write(true).open(image).unwrap();
    let block = vec![0x5a; 1 << 20];
    (0..mib).for_each(|_| out.write_all(&block).unwrap());
    out.sync_all().unwrap();
}

fn break_record(dir: &Path) {
    let name = "user.leister";
    rustix::fs::setxattr(dir, name, b"{\"format\":", rustix::fs::XattrFlags::empty()).unwrap();
}

#[test]
fn damaged_volumes_are_told_and_left_alone_and_keep_nobody_from_the_others() {
    let Some(mut rig) = Rig::new() else { return };
    for handle in ["broken", "bare", "hollow", "fine"] {
        rig.pool().create(&volume(handle, 16)).unwrap();
    }
    let inside = |rig: &Rig, relative: &str| rig.inside("volumes").join(relative);
    fs::write(inside(&rig, "broken/data/f"), "precious").unwrap();
    break_record(&inside(&rig, "broken"));
    rustix::fs::removexattr(inside(&rig, "bare"), "user.leister").unwrap();
    // A subvolume goes as a directory does when it is empty.
    fs::remove_dir(inside(&rig, "hollow/data")).unwrap();
    fs::create_dir(rig.inside(".staging/odd")).unwrap();
    break_record(&rig.inside(".staging/odd"));
    rig.reopen();
    let pool = rig.pool();
    let handles: Vec<_> = pool.list().unwrap().into_iter().map(|v| v.handle).collect();
    assert_eq!(handles, ["fine"]);
    let sorted = |pool: &Pool| {
        let mut damaged = pool.damaged().unwrap();
        damaged.sort_by(|a, b| a.handle.cmp(&b.handle));
        damaged
    };
    let damaged = sorted(pool);
    let told: Vec<_> = damaged.iter().map(|d| d.handle.as_str()).collect();
    assert_eq!(told, ["bare", "broken", "hollow"]);
    assert!(
        damaged[1].problem.contains("read the record") && damaged[1].problem.contains("EOF"),
        "{damaged:?}"
    );
    assert!(damaged[2].problem.contains("no data"), "{damaged:?}");
    for handle in ["bare", "broken"] {
        assert!(pool.delete(handle).is_ok_and(|done| !done.changed()) || handle == "broken");
        pool.create(&volume(handle, 16)).unwrap_err();
    }
    pool.create(&volume("more", 16)).unwrap();
    rig.reopen();
    assert_eq!(fs::read_to_string(inside(&rig, "broken/data/f")).unwrap(), "precious");
    // What lies in staging on btrfs may be what somebody wanted imported.
    assert_eq!(rig.inside(".staging/odd").exists(), rig.ground == Ground::Btrfs);
    assert_eq!(sorted(rig.pool()), damaged);
}

#[test]
fn permits_and_the_mark_of_use_are_kept_with_the_volume() {
    let Some(mut rig) = Rig::new() else { return };
    let pool = rig.pool();
    assert_eq!(pool.create(&volume("v", 16)).unwrap().into_state().staged, Some(false));
    pool.take("v", "before").unwrap();
    let alone = Permit { exclusive: true, read_only: true, ..shared("n1") };
    assert!(pool.permit("v", &alone).unwrap().changed());
    refused(pool.permit("v", &shared("n2")), ErrorKind::InUse, &["`n1` alone"]);
    assert!(pool.mark_staged("v").unwrap().changed());
    assert!(!pool.mark_staged("v").unwrap().changed());
    refused(pool.mark_staged("none"), ErrorKind::NotFound, &["none"]);
    rig.reopen();
    let pool = rig.pool();
    let v = pool.find("v").unwrap().unwrap();
    assert_eq!((v.permits, v.staged), (vec![alone], Some(true)));
    pool.forbid("v", &shared("n1").node.name).unwrap();
    pool.take("v", "after").unwrap();
    let staged = |pool: &Pool, handle: &str| pool.find(handle).unwrap().unwrap().staged;
    for (clone, snapshot, mark) in
        [("c1", Some("before"), false), ("c2", Some("after"), true), ("c3", None, true)]
    {
        pool.create(&clone_of(clone, 16, "v", snapshot)).unwrap();
        assert_eq!(staged(pool, clone), Some(mark), "{clone}");
    }
    assert_eq!(pool.restore("v", "before").unwrap().into_state().staged, Some(false));
    assert_eq!(staged(pool, "v"), Some(false));
    assert_eq!(pool.restore("v", "after").unwrap().into_state().staged, Some(true));
    assert_eq!(staged(pool, "v"), Some(true));
}
