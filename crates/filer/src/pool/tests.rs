use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use model::{Bytes, NodeIdentity, NodeName, Permit};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use super::{Image, Pool, PoolSpec};
use crate::error::{ErrorKind, FilerError};
use crate::volume::{CreateVolume, Layout, Outcome, Provisioning, Source, VolumeState};

mod deaths;
mod opening;

const MIB: u64 = 1 << 20;

/// A pool of 1 GiB in a directory of its own; unmounted and removed when dropped.
struct Rig {
    dir: TempDir,
    spec: PoolSpec,
    pool: Option<Pool>,
}

impl Rig {
    fn new() -> Option<Rig> {
        let mkfs = Command::new("mkfs.btrfs").arg("--version").output();
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() || mkfs.is_err()
        {
            eprintln!("SKIPPED: needs root, loop devices and mkfs.btrfs");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let image = Image { path: dir.path().join("pool.img"), size: Bytes::gib(1), preallocate: false };
        let spec = PoolSpec::in_image(dir.path().join("pool"), image, "us");
        let pool = Pool::make(&spec).unwrap();
        Some(Rig { dir, spec, pool: Some(pool) })
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
            super::Kind::Lvm(_) => panic!("not on btrfs"),
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.pool = None;
        let _ = unmount(&self.spec.path, UnmountFlags::DETACH);
    }
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
    assert!((60..=64).contains(&written) && errno == Some(Errno::DQUOT), "{written} {errno:?}");
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
    assert!(v.used > Bytes::mib(90) && v.exclusive < Bytes::mib(40), "{v:?}");
}

/// What a person's command does on any kernel, each thin snapshot does on one before Linux 6.9.
#[test]
fn limits_hold_again_after_the_kernel_gave_up_counting() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 64)).unwrap().into_state();
    fill(&v.served.path().join("f"), 20);
    let btrfs = |args: &[&str], last: &Path| {
        let done = Command::new("btrfs").args(args).arg(last).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    btrfs(&["qgroup", "create", "1/9"], pool.path());
    let repairs: [(&str, &dyn Fn()); 3] = [
        ("stats", &|| {
            pool.stats().unwrap();
        }),
        ("take", &|| drop(pool.take("v", "s").unwrap())),
        ("clone", &|| drop(pool.create(&clone_of("c", 64, "v", None)).unwrap())),
    ];
    for (what, repair) in repairs {
        let source = v.served.path().to_str().unwrap();
        btrfs(&["subvolume", "snapshot", "-i", "1/9", source], &rig.inside(what));
        repair();
        let (written, errno) = fill(&v.served.path().join("g"), 100);
        assert!(written <= 44 && errno == Some(Errno::DQUOT), "after {what}: {written} MiB more, {errno:?}");
        fs::remove_file(v.served.path().join("g")).unwrap();
    }
}

#[test]
fn limits_and_sizes_survive_a_remount() {
    let Some(mut rig) = Rig::new() else { return };
    rig.pool().create(&volume("v", 64)).unwrap();
    rig.pool().create(&thick("t", 100)).unwrap();
    let before = rig.pool().stats().unwrap();
    rig.pool.take().unwrap().close().unwrap();
    assert_eq!(loops_of(&rig.dir.path().join("pool.img")), 0);
    rig.pool = Some(Pool::open(&rig.spec).unwrap());
    let after = rig.pool().stats().unwrap();
    assert_eq!((before.reserved, before.provisioned_thin), (after.reserved, after.provisioned_thin));
    assert_eq!(after.reserved, Bytes::mib(100));
    let v = rig.pool().find("v").unwrap().unwrap();
    assert_eq!(fill(&v.served.path().join("f"), 100).1, Some(Errno::DQUOT));
}

#[test]
fn space_of_deleted_volumes_and_snapshots_comes_back() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let free = pool.stats().unwrap().free;
    let v = pool.create(&volume("v", 300)).unwrap().into_state();
    assert_eq!(fill(&v.served.path().join("f"), 200), (200, None));
    let s = pool.take("v", "s").unwrap().into_state();
    assert!(s.used > Bytes::mib(199) && s.size == Bytes::mib(300));
    assert!(!pool.take("v", "s").unwrap().changed());
    assert!(fs::write(s.served.path().join("x"), "x").is_err(), "a snapshot can be written");
    fs::remove_file(v.served.path().join("f")).unwrap();
    until("the snapshot alone to hold the data", || {
        rustix::fs::syncfs(&pool.btrfs().root).unwrap();
        pool.list_snapshots("v").unwrap()[0].exclusive > Bytes::mib(199)
    });
    refused(pool.delete("v"), ErrorKind::InUse, &["snapshots s"]);
    assert!(pool.delete_snapshot("v", "s").unwrap().changed());
    assert!(!pool.delete_snapshot("v", "s").unwrap().changed());
    assert!(pool.delete("v").unwrap().changed());
    until("the space to come back", || {
        rustix::fs::syncfs(&pool.btrfs().root).unwrap();
        free.saturating_sub(pool.stats().unwrap().free) < Bytes::mib(1)
    });
    until("the quota groups to be gone", || {
        pool.btrfs().sweep().unwrap();
        pool.btrfs().all_used().unwrap().len() <= 1
    });
}

#[test]
fn thin_volumes_cannot_eat_into_thick_ones() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let capacity = pool.stats().unwrap().capacity;
    let t = pool.create(&thick("t", 400)).unwrap().into_state();
    let v = pool.create(&volume("v", 2000)).unwrap().into_state();
    let (written, errno) = fill(&v.served.path().join("f"), 2000);
    assert_eq!(errno, Some(Errno::DQUOT));
    let shared = capacity.get() / MIB - 400;
    assert!((shared - 8..=shared).contains(&written), "{written} of {shared}");
    // The pool counts as full, is unharmed, and the thick volume gets all of its own.
    let (written, _) = fill(&t.served.path().join("f"), 500);
    assert!((396..=400).contains(&written), "a thick volume of 400 MiB took {written}");
    refused(pool.create(&thick("t2", 100)), ErrorKind::NoCapacity, &["free", "100"]);
    refused(pool.take("t", "s"), ErrorKind::NoCapacity, &["free"]);
    refused(pool.create(&volume("v2", 10_000)), ErrorKind::NoCapacity, &["overcommit", "10"]);
    refused(pool.create(&clone_of("c", 2000, "t", None)), ErrorKind::NoCapacity, &["free"]);
    // A thin volume's things still work on a full pool, and its space can be had again.
    pool.delete("t").unwrap();
    fs::remove_file(v.served.path().join("f")).unwrap();
    pool.delete("v").unwrap();
    until("the space to come back", || {
        rustix::fs::syncfs(&pool.btrfs().root).unwrap();
        pool.stats().unwrap().free > Bytes::mib(shared)
    });
    assert!(pool.create(&thick("t2", 500)).unwrap().changed());
    rig.assert_swept();
}

#[test]
fn reserved_volumes_pay_for_snapshots_and_clones() {
    let Some(mut rig) = Rig::new() else { return };
    let pool = rig.pool();
    let t = pool.create(&thick("t", 100)).unwrap().into_state();
    fill(&t.served.path().join("f"), 50);
    pool.take("t", "s").unwrap();
    let reserved = pool.stats().unwrap().reserved;
    assert!((Bytes::mib(149)..Bytes::mib(152)).contains(&reserved), "{reserved}");
    let c = pool.create(&clone_of("c", 100, "t", Some("s"))).unwrap().into_state();
    assert!(c.reserved && c.provisioning == Provisioning::Thin);
    pool.create(&volume("thin", 50)).unwrap();
    let from_thin = CreateVolume { provisioning: Provisioning::Thick, ..clone_of("c2", 50, "thin", None) };
    refused(pool.create(&from_thin), ErrorKind::Unsupported, &["thin clone"]);
    let before = pool.stats().unwrap();
    rig.reopen();
    let pool = rig.pool();
    assert_eq!(pool.stats().unwrap().reserved, before.reserved);
    pool.delete_snapshot("t", "s").unwrap();
    pool.delete("c").unwrap();
    pool.delete("t").unwrap();
    assert_eq!(pool.stats().unwrap().reserved, Bytes::ZERO);
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
    assert!((92..=96).contains(&written) && errno == Some(Errno::DQUOT), "{written} after restore");
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
    let full = CreateVolume { layout: Layout::Block, ..thick("tb", 100) };
    let tb = pool.create(&full).unwrap().into_state();
    assert!(tb.used >= Bytes::mib(100) || pool.find("tb").unwrap().unwrap().used >= Bytes::mib(100));
    refused(pool.create(&clone_of("file", 96, "b", None)), ErrorKind::Invalid, &["Block"]);
}

/// A host attaches an image only if it is as long as its record says.
#[test]
fn a_thick_block_volume_that_cannot_grow_stays_as_long_as_it_was() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let wanted = CreateVolume { layout: Layout::Block, ..thick("b", 64) };
    let b = pool.create(&wanted).unwrap().into_state();
    // Somebody fills what was set aside, past the ledger.
    fill(&rig.inside("stray"), 2000);
    refused(pool.grow("b", Bytes::mib(512)), ErrorKind::NoCapacity, &["full"]);
    assert_eq!(fs::metadata(b.served.path()).unwrap().len(), 64 * MIB);
    assert_eq!(pool.find("b").unwrap().unwrap().size, Bytes::mib(64));
    assert_eq!(pool.stats().unwrap().reserved, Bytes::mib(64));
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

#[test]
fn foreign_subvolumes_are_imported_and_released() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let made = Command::new("btrfs").args(["subvolume", "create"]).arg(rig.inside("old")).output().unwrap();
    assert!(made.status.success());
    fs::create_dir(rig.inside("plain")).unwrap();
    fill(&rig.inside("old/f"), 20);
    let foreign = pool.list_foreign().unwrap();
    assert_eq!(foreign.iter().filter(|f| f.subvolume).map(|f| f.name.as_str()).collect::<Vec<_>>(), ["old"]);
    refused(pool.import("plain", &volume("v", 64)), ErrorKind::Unsupported, &["subvolume create"]);
    refused(pool.import("none", &volume("v", 64)), ErrorKind::NotFound, &["none"]);
    refused(pool.import("old", &volume("v", 10)), ErrorKind::Invalid, &["holds"]);
    let v = pool.import("old", &volume("v", 64)).unwrap();
    assert!(v.changed());
    assert!(!pool.import("old", &volume("v", 64)).unwrap().changed());
    let v = v.into_state();
    assert_eq!(fill(&v.served.path().join("g"), 100).1, Some(Errno::DQUOT));
    assert!(!rig.inside("old").exists());
    assert!(pool.release("v").unwrap().changed());
    assert!(!pool.release("v").unwrap().changed());
    assert!(rig.inside("old/f").exists());
    assert_eq!(fill(&rig.inside("old/h"), 100), (100, None), "a released subvolume has no limit");
    rig.assert_swept();
}

#[test]
fn importing_and_deleting_what_came_while_the_pool_was_open_takes_nothing_from_others() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    pool.create(&thick("t", 100)).unwrap();
    let made = Command::new("btrfs").args(["subvolume", "create"]).arg(rig.inside("late")).output().unwrap();
    assert!(made.status.success());
    fill(&rig.inside("late/f"), 20);
    pool.import("late", &volume("v", 64)).unwrap();
    assert_eq!(pool.stats().unwrap().reserved, Bytes::mib(164));
    pool.release("v").unwrap();
    assert!(pool.stats().unwrap().reserved < Bytes::mib(122), "100 and the content of what is foreign again");
    pool.import("late", &volume("v", 64)).unwrap();
    pool.delete("v").unwrap();
    assert_eq!(pool.stats().unwrap().reserved, Bytes::mib(100));
}

#[test]
fn of_two_thick_volumes_at_once_for_which_there_is_no_room_one_is_made() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 600)).unwrap().into_state();
    assert_eq!(fill(&v.served.path().join("f"), 500), (500, None));
    let most = pool.stats().unwrap().free.get() / MIB * 2 / 3;
    for _ in 0..20 {
        let start = std::sync::Barrier::new(2);
        let made = std::thread::scope(|scope| {
            let both = ["a", "b"].map(|handle| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    pool.create(&thick(handle, most)).is_ok()
                })
            });
            both.map(|thread| thread.join().unwrap())
        });
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
        assert!(["a", "b"].iter().any(|handle| pool.delete(handle).unwrap().changed()));
    }
}

#[test]
fn a_volume_with_subvolumes_of_a_container_is_deleted_whole() {
    let Some(rig) = Rig::new() else { return };
    let v = rig.pool().create(&volume("v", 64)).unwrap().into_state();
    for name in ["dir", "dir/inner", "dir/inner/more"] {
        Command::new("btrfs").args(["subvolume", "create"]).arg(v.served.path().join(name)).output().unwrap();
        fs::write(v.served.path().join(name).join("f"), "x").unwrap();
    }
    let odd = v.served.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&odd).unwrap();
    Command::new("btrfs").args(["subvolume", "create"]).arg(odd.join("below")).output().unwrap();
    fs::write(odd.join("f"), "kept by nobody").unwrap();
    let flag = Command::new("chattr").arg("+i").arg(odd.join("f")).status();
    assert!(flag.unwrap().success());
    let outer = v.served.path().join("dir/inner");
    let sealed = Command::new("btrfs").args(["property", "set"]).arg(outer).args(["ro", "true"]).output();
    assert!(sealed.unwrap().status.success());
    rig.pool().delete("v").unwrap();
    rig.assert_swept();
}

#[test]
fn a_volume_that_cannot_be_removed_keeps_nobody_from_the_pool() {
    let Some(mut rig) = Rig::new() else { return };
    let v = rig.pool().create(&volume("v", 64)).unwrap().into_state();
    Command::new("btrfs").args(["subvolume", "create"]).arg(v.served.path().join("inner")).output().unwrap();
    fs::create_dir_all(v.served.path().join("x/".repeat(300))).unwrap();
    assert!(rig.pool().delete("v").unwrap().changed());
    assert_eq!(rig.pool().find("v").unwrap(), None);
    rig.reopen();
    assert!(rig.pool().create(&volume("v", 64)).unwrap().changed());
}

#[test]
fn a_thousand_creates_at_64_parallel() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let start = Instant::now();
    let alone: Vec<_> = (0..50)
        .map(|n| {
            let start = Instant::now();
            assert!(pool.create(&volume(&format!("a{n}"), 1)).unwrap().changed());
            start.elapsed()
        })
        .collect();
    println!("alone: {:?} each", start.elapsed() / 50);
    println!("       slowest {:?}", alone.iter().max());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..64 {
            scope.spawn(move || {
                for n in 0..16 {
                    assert!(pool.create(&volume(&format!("p{worker}-{n}"), 1)).unwrap().changed());
                }
            });
        }
    });
    println!("64 parallel: 1024 in {:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(pool.list().unwrap().len(), 1074);
    println!("list of 1074: {:?}", start.elapsed());
    assert_eq!(pool.stats().unwrap().provisioned_thin, Bytes::mib(1074));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..64 {
            scope.spawn(move || {
                for n in 0..16 {
                    assert!(matches!(pool.delete(&format!("p{worker}-{n}")), Ok(Outcome::Changed(()))));
                }
            });
        }
    });
    println!("64 parallel: 1024 deleted in {:?}", start.elapsed());
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
        rig.pool().create(&thick(handle, 16)).unwrap();
    }
    let inside = |rig: &Rig, relative: &str| rig.inside("volumes").join(relative);
    fs::write(inside(&rig, "broken/data/f"), "precious").unwrap();
    break_record(&inside(&rig, "broken"));
    rustix::fs::removexattr(inside(&rig, "bare"), "user.leister").unwrap();
    let gone =
        Command::new("btrfs").args(["-q", "subvolume", "delete"]).arg(inside(&rig, "hollow/data")).status();
    assert!(gone.unwrap().success());
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
    assert!(rig.inside(".staging/odd").exists());
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
