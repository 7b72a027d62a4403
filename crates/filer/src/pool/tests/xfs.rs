//! What only pools on XFS have: quotas of projects, trees that are copied file by file.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::*;

/// Set in a guest that is killed between two runs: which of them it is.
pub(super) const POWER: &str = "FILER_POWER";
const STAMP: Duration = Duration::from_secs(1_000_000_000);

fn run(program: &str, args: &[&str], last: &Path) {
    let done = Command::new(program).args(args).arg(last).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An access list in which one more (tag 2: a user, 8: a group) may read.
fn acl(tag: u16, id: u32) -> Vec<u8> {
    let everyone = u32::MAX;
    let mut entries =
        [(1, 6, everyone), (tag, 4, id), (4, 4, everyone), (0x10, 4, everyone), (0x20, 4, everyone)];
    entries.sort_unstable();
    let entry = |(tag, may, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec(), entries.map(entry).concat()].concat()
}

#[test]
fn an_xfs_that_cannot_hold_a_pool_is_refused_with_the_way_out() {
    let Some(mut rig) = Rig::on_xfs() else { return };
    let disk = std::env::var(DISK).unwrap();
    let abilities = rig.pool().abilities();
    assert_eq!((abilities.kind, abilities.layouts.len()), ("xfs", 2));
    refused(rig.pool().create(&thick("t", 64)), ErrorKind::Unsupported, &["`t`", "overcommit"]);
    refused(
        rig.pool().import("old", &volume("v", 64)),
        ErrorKind::Unsupported,
        &["`old`", "cp -a --reflink"],
    );
    rig.pool = None;
    unmount(&rig.spec.path, UnmountFlags::empty()).unwrap();
    mount_xfs(&disk, &rig.spec.path, "");
    refused(Pool::open(&rig.spec), ErrorKind::Unsupported, &["`prjquota`", "not by a remount"]);
    unmount(&rig.spec.path, UnmountFlags::empty()).unwrap();
    mount_xfs(&disk, &rig.spec.path, "pqnoenforce");
    refused(Pool::open(&rig.spec), ErrorKind::Unsupported, &["`prjquota`"]);
    unmount(&rig.spec.path, UnmountFlags::empty()).unwrap();
    mount_xfs(&disk, &rig.spec.path, "prjquota");
    fs::create_dir(rig.inside("theirs")).unwrap();
    run("xfs_io", &["-c", "chproj 7", "-c", "chattr +P"], &rig.inside("theirs"));
    let inside = PoolSpec::mounted(rig.inside("theirs"), "us");
    refused(Pool::open(&inside), ErrorKind::Unsupported, &["project 7", "another directory"]);
    assert_eq!(fs::read_dir(rig.inside("theirs")).unwrap().count(), 0, "nothing was made there");
    drop(rig);
    let plain = Rig::make_xfs(&disk, &["-m", "reflink=0"]);
    refused(Pool::open(&plain.spec), ErrorKind::Unsupported, &["reflink=1"]);
}

#[test]
fn a_copy_has_all_that_belongs_to_files() {
    let Some(rig) = Rig::on_xfs() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 64)).unwrap().into_state();
    let at = |name: &str| v.served.path().join(name);
    fs::create_dir_all(at("dir/inner")).unwrap();
    fs::write(at("dir/f"), "content").unwrap();
    fs::hard_link(at("dir/f"), at("dir/inner/same")).unwrap();
    fs::write(at("sealed"), "x").unwrap();
    fs::write(at("empty"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
    run("mkfifo", &[], &at("pipe"));
    let (character, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, at("null"), character, mode, rustix::fs::makedev(1, 3)).unwrap();
    let odd = v.served.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::write(&odd, "odd").unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(40 * MIB).unwrap();
    let extended: [(&str, &str, Vec<u8>); 4] = [
        ("dir/f", "system.posix_acl_access", acl(2, 1234)),
        ("dir", "system.posix_acl_default", acl(8, 77)),
        ("dir", "user.note", b"kept".to_vec()),
        ("sealed", "security.capability", [&[1, 0, 0, 2, 0, 32][..], &[0; 14]].concat()),
    ];
    for (name, attribute, value) in &extended {
        rustix::fs::lsetxattr(at(name), *attribute, value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    run("chown", &["-h", "5:6"], &at("link"));
    run("chown", &["7:8"], &at("dir/inner"));
    run("chmod", &["2751"], &at("dir/inner"));
    run("touch", &["-h", "-d", "@1000000000"], &at("link"));
    run("touch", &["-d", "@1000000000"], &at("dir/f"));
    run("touch", &["-d", "@1000000000"], &at("dir"));
    run("chattr", &["+i"], &at("sealed"));
    pool.take("v", "s").unwrap();
    fs::write(at("dir/f"), "changed").unwrap();
    fs::remove_file(&odd).unwrap();
    for (handle, snapshot) in [("c", Some("s")), ("d", None)] {
        let c = pool.create(&clone_of(handle, 64, "v", snapshot)).unwrap().into_state();
        let copy = |name: &str| c.served.path().join(name);
        let content = if snapshot.is_some() { "content" } else { "changed" };
        assert_eq!(fs::read_to_string(copy("dir/f")).unwrap(), content);
        let (f, same) = (fs::metadata(copy("dir/f")).unwrap(), fs::metadata(copy("dir/inner/same")).unwrap());
        assert_eq!((f.ino(), f.nlink()), (same.ino(), 2), "two names of one file");
        assert!(fs::symlink_metadata(copy("pipe")).unwrap().file_type().is_fifo());
        let null = fs::symlink_metadata(copy("null")).unwrap();
        assert!(null.file_type().is_char_device() && null.rdev() == rustix::fs::makedev(1, 3));
        assert_eq!(fs::read_link(copy("link")).unwrap(), Path::new("nowhere"));
        let link = fs::symlink_metadata(copy("link")).unwrap();
        assert_eq!((link.uid(), link.gid(), link.mtime()), (5, 6, 1_000_000_000));
        let inner = fs::metadata(copy("dir/inner")).unwrap();
        assert_eq!((inner.uid(), inner.gid(), inner.mode() & 0o7777), (7, 8, 0o2751));
        assert!(fs::metadata(copy("sparse")).unwrap().blocks() == 0, "a hole stays one");
        if snapshot.is_some() {
            assert_eq!(
                fs::read(c.served.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"))).unwrap(),
                b"odd"
            );
            let times = [fs::metadata(copy("dir")).unwrap(), f];
            assert!(times.iter().all(|meta| meta.modified().unwrap() == std::time::UNIX_EPOCH + STAMP));
        }
        for (name, attribute, value) in &extended {
            let mut found = Vec::with_capacity(100);
            let room = rustix::buffer::spare_capacity(&mut found);
            rustix::fs::lgetxattr(copy(name), *attribute, room).unwrap();
            assert_eq!(&found, value, "{attribute} of {name}");
        }
        fs::write(copy("sealed"), "what chattr set is not kept").unwrap();
        assert!(pool.delete(handle).unwrap().changed());
    }
    let s = pool.find_snapshot("v", "s").unwrap().unwrap();
    assert!(fs::write(s.served.path().join("dir/f"), "x").is_err(), "a snapshot can be written");
    assert!(fs::write(s.served.path().join("new"), "x").is_err(), "a snapshot can be added to");
    pool.delete_snapshot("v", "s").unwrap();
    pool.delete("v").unwrap();
    rig.assert_swept();
}

/// Two files are always written one after the other: a copy in which the second is ahead is of no instant.
#[test]
fn a_snapshot_of_files_is_of_one_instant_or_refused() {
    let Some(rig) = Rig::on_xfs() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 64)).unwrap().into_state();
    for n in 0..200 {
        fs::write(v.served.path().join(format!("f{n}")), "x").unwrap();
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let path = v.served.path();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                fs::write(path.join("first"), n.to_string()).unwrap();
                fs::write(path.join("second"), n.to_string()).unwrap();
            }
        });
        until("the writer to write", || path.join("second").exists());
        refused(pool.take("v", "s"), ErrorKind::Busy, &["`s`", "`v`", "written to", "block volume"]);
        refused(pool.create(&clone_of("c", 64, "v", None)), ErrorKind::Busy, &["written to"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    rig.assert_swept();
    assert_eq!(pool.find("c").unwrap(), None);
    let s = pool.take("v", "s").unwrap().into_state();
    let read = |name: &str| fs::read_to_string(s.served.path().join(name)).unwrap();
    assert_eq!(read("first"), read("second"));
}

/// Stores into mapped memory set no time of change by themselves, only the first into a page that was made read-only.
///
/// A copy during which the writer did not run at all is of one instant, and no reason to refuse.
#[test]
fn a_store_into_mapped_memory_is_a_change() {
    let Some(rig) = Rig::on_xfs() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 64)).unwrap().into_state();
    let path = v.served.path();
    fs::write(path.join("first"), [0; 4096]).unwrap();
    for n in 0..300 {
        fs::write(path.join(format!("f{n}")), "x").unwrap();
    }
    fs::write(path.join("second"), [0; 4096]).unwrap();
    let script = "import mmap,sys\nfiles=[open(f,'r+b') for f in sys.argv[1:]]\n\
                  maps=[mmap.mmap(f.fileno(),0) for f in files]\nprint('maps',flush=True)\nn=0\nwhile True:\n n+=1\n\
                  \x20for m in maps: m[0:8]=n.to_bytes(8,'little')\n";
    let mut writer = Command::new("python3")
        .args(["-c", script])
        .args(["first", "second"].map(|name| path.join(name)))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 4];
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut word).unwrap();
    let (mut refusals, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        match pool.take("v", "s") {
            Err(refusal) => refusals.push(refusal.kind()),
            Ok(taken) => {
                let content = taken.into_state().served.path().to_owned();
                seen.push(["first", "second"].map(|name| {
                    u64::from_le_bytes(fs::read(content.join(name)).unwrap()[..8].try_into().unwrap())
                }));
                pool.delete_snapshot("v", "s").unwrap();
            }
        }
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(seen.iter().all(|[first, second]| first == second || *first == second + 1), "{seen:?}");
    assert!(!refusals.is_empty(), "the writer never ran");
    assert!(refusals.iter().all(|kind| *kind == ErrorKind::Busy), "{refusals:?}");
}

/// Who writes to an image waits for its copy.
#[test]
fn a_snapshot_of_a_block_volume_is_of_one_instant_while_it_is_written() {
    let Some(rig) = Rig::on_xfs() else { return };
    let pool = rig.pool();
    let wanted = CreateVolume { layout: Layout::Block, ..volume("b", 64) };
    let b = pool.create(&wanted).unwrap().into_state();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let image = fs::File::options().read(true).write(true).open(b.served.path()).unwrap();
    use std::os::unix::fs::FileExt;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                // First at the end, then at the beginning.
                for at in [63 * MIB, 0] {
                    image.write_all_at(&n.to_le_bytes(), at).unwrap();
                }
            }
        });
        for round in 0..20 {
            let s = pool.take("b", &format!("s{round}")).unwrap().into_state();
            let taken = fs::File::open(s.served.path()).unwrap();
            let read = |at| {
                let mut word = [0; 8];
                taken.read_exact_at(&mut word, at).unwrap();
                u64::from_le_bytes(word)
            };
            let (end, beginning) = (read(63 * MIB), read(0));
            assert!(end == beginning || end == beginning + 1, "round {round}: {end} and {beginning}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn trees_of_any_depth_and_with_any_flags_are_deleted_whole() {
    let Some(rig) = Rig::on_xfs() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 64)).unwrap().into_state();
    fs::create_dir_all(v.served.path().join("x/".repeat(300))).unwrap();
    fs::write(v.served.path().join("x/x/f"), "x").unwrap();
    run("chattr", &["+i"], &v.served.path().join("x/x/f"));
    run("chattr", &["+a"], &v.served.path().join("x/x"));
    refused(pool.take("v", "s"), ErrorKind::Unsupported, &["200 directories deep"]);
    assert!(pool.delete("v").unwrap().changed());
    rig.assert_swept();
    assert_eq!(pool.stats().unwrap().provisioned_thin, Bytes::ZERO);
}

#[test]
fn a_nearly_full_file_system_promises_nothing_and_says_so() {
    let Some(rig) = Rig::on_xfs() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 900)).unwrap().into_state();
    refused(pool.create(&volume("w", 20_000)), ErrorKind::NoCapacity, &["can promise", "overcommit"]);
    let before = pool.stats().unwrap();
    fill(&rig.inside("stray"), 100);
    rustix::fs::syncfs(fs::File::open(&rig.spec.path).unwrap()).unwrap();
    let after = pool.stats().unwrap();
    let lost = before.thin_limit.saturating_sub(after.thin_limit);
    assert!(
        (Bytes::mib(990)..Bytes::mib(1020)).contains(&lost),
        "what is foreign is promised to nobody: {lost}"
    );
    assert_eq!(fill(&v.served.path().join("f"), 900).1, Some(Errno::NOSPC));
    for refusal in [
        pool.create(&volume("w", 64)).map(drop),
        pool.take("v", "s").map(drop),
        pool.grow("v", Bytes::mib(964)).map(drop),
    ] {
        refused(refusal, ErrorKind::NoCapacity, &["free", "5 %"]);
    }
    let full = pool.stats().unwrap();
    assert_eq!(full.thin_limit, full.provisioned_thin, "nothing is offered any more");
    fs::remove_file(v.served.path().join("f")).unwrap();
    until("the space to come back", || pool.create(&volume("w", 64)).is_ok());
}

#[test]
fn sizes_and_sums_survive_a_remount_and_a_lost_limit_is_set_again() {
    let Some(mut rig) = Rig::on_xfs() else { return };
    let disk = std::env::var(DISK).unwrap();
    rig.pool().create(&volume("v", 64)).unwrap();
    rig.pool().create(&CreateVolume { layout: Layout::Block, ..volume("b", 32) }).unwrap();
    rig.pool.take().unwrap().close().unwrap();
    run("xfs_quota", &["-x", "-c", &format!("limit -p bhard=0 {}", 0x4C00_0000)], &rig.spec.path);
    unmount(&rig.spec.path, UnmountFlags::empty()).unwrap();
    mount_xfs(&disk, &rig.spec.path, "prjquota");
    rig.pool = Some(Pool::open(&rig.spec).unwrap());
    assert_eq!(rig.pool().stats().unwrap().provisioned_thin, Bytes::mib(96));
    let v = rig.pool().find("v").unwrap().unwrap();
    assert_eq!(fill(&v.served.path().join("f"), 100).1, Some(Errno::NOSPC));
    assert!(rig.pool().find("v").unwrap().unwrap().used > Bytes::mib(60));
    let w = rig.pool().create(&volume("w", 64)).unwrap().into_state();
    assert_eq!(w.used, Bytes::ZERO, "it has a project of its own");
}

#[test]
fn a_volume_that_left_its_project_is_told() {
    let Some(rig) = Rig::on_xfs() else { return };
    let v = rig.pool().create(&volume("v", 64)).unwrap().into_state();
    rig.pool().create(&volume("fine", 64)).unwrap();
    run("xfs_io", &["-c", "chproj 0"], v.served.path());
    let damaged = rig.pool().damaged().unwrap();
    assert!(damaged.len() == 1 && damaged[0].problem.contains("nothing holds it to its size"), "{damaged:?}");
    assert_eq!(rig.pool().list().unwrap().len(), 1);
}

#[test]
fn what_was_answered_survives_a_loss_of_power() {
    let (Ok(disk), Ok(power)) = (std::env::var(DISK), std::env::var(POWER)) else {
        println!("does not apply: this is run before and after a loss of power");
        return;
    };
    if power == "goes" {
        let rig = std::mem::ManuallyDrop::new(Rig::make_xfs(&disk, &[]));
        let pool = rig.pool();
        for handle in ["v", "gone", "grown"] {
            pool.create(&volume(handle, 64)).unwrap();
        }
        pool.create(&CreateVolume { layout: Layout::Block, ..volume("b", 32) }).unwrap();
        let v = pool.find("v").unwrap().unwrap();
        fs::write(v.served.path().join("f"), "in the snapshot").unwrap();
        pool.take("v", "s").unwrap();
        fs::write(v.served.path().join("f"), "lost by the restore").unwrap();
        pool.restore("v", "s").unwrap();
        pool.create(&clone_of("c", 96, "v", Some("s"))).unwrap();
        pool.grow("grown", Bytes::mib(80)).unwrap();
        pool.permit("v", &shared("n1")).unwrap();
        pool.delete("gone").unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    fs::create_dir(&path).unwrap();
    mount_xfs(&disk, &path, "prjquota");
    let spec = PoolSpec::mounted(&path, "us");
    let rig = Rig { dir, pool: Some(Pool::open(&spec).unwrap()), spec, ground: Ground::Xfs };
    let pool = rig.pool();
    let mut found: Vec<_> =
        pool.list().unwrap().into_iter().map(|v| (v.handle, v.size, v.permits.len())).collect();
    found.sort();
    let expected = [("b", 32, 0), ("c", 96, 0), ("grown", 80, 0), ("v", 64, 1)];
    assert_eq!(found, expected.map(|(handle, mib, permits)| (handle.to_owned(), Bytes::mib(mib), permits)));
    assert_eq!(pool.damaged().unwrap(), []);
    let snapshot = pool.find_snapshot("v", "s").unwrap().unwrap().served.path().to_owned();
    let paths = ["v", "c"].map(|handle| pool.find(handle).unwrap().unwrap().served.path().to_owned());
    for path in paths.iter().chain([&snapshot]) {
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "in the snapshot");
    }
    let grown = pool.find("grown").unwrap().unwrap();
    assert!((76..=80).contains(&fill(&grown.served.path().join("f"), 100).0), "it is held to its size");
}
