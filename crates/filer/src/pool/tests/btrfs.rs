//! What only pools on btrfs have: thick volumes, counts of what is shared, subvolumes, images.

use super::deaths::die_everywhere;
use super::*;

/// What a person's command does on any kernel, each thin snapshot does on one before Linux 6.9.
#[test]
fn limits_hold_again_after_the_kernel_gave_up_counting() {
    let Some(rig) = Rig::on_btrfs() else { return };
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
    let Some(mut rig) = Rig::on_btrfs() else { return };
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
    let Some(rig) = Rig::on_btrfs() else { return };
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
    let Some(rig) = Rig::on_btrfs() else { return };
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
    let Some(mut rig) = Rig::on_btrfs() else { return };
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

/// A host attaches an image only if it is as long as its record says.
#[test]
fn a_thick_block_volume_that_cannot_grow_stays_as_long_as_it_was() {
    let Some(rig) = Rig::on_btrfs() else { return };
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
fn foreign_subvolumes_are_imported_and_released() {
    let Some(rig) = Rig::on_btrfs() else { return };
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
    let Some(rig) = Rig::on_btrfs() else { return };
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
    let Some(rig) = Rig::on_btrfs() else { return };
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
    let Some(rig) = Rig::on_btrfs() else { return };
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
    let Some(mut rig) = Rig::on_btrfs() else { return };
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
    let Some(rig) = Rig::on_btrfs() else { return };
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

/// A copy of the image is what a host that lost power at that moment would find.
#[test]
fn what_was_answered_survives_a_loss_of_power() {
    let Some(rig) = Rig::on_btrfs() else { return };
    let pool = rig.pool();
    for handle in ["v", "gone", "grown"] {
        pool.create(&volume(handle, 64)).unwrap();
    }
    pool.delete("gone").unwrap();
    pool.grow("grown", Bytes::mib(80)).unwrap();
    let v = pool.find("v").unwrap().unwrap();
    fs::write(v.served.path().join("f"), "in the snapshot").unwrap();
    pool.take("v", "s").unwrap();
    pool.create(&thick("t", 100)).unwrap();
    pool.permit("v", &shared("n1")).unwrap();
    let mut spec = rig.spec.clone();
    spec.path = rig.dir.path().join("after");
    let image = spec.image.as_mut().unwrap();
    image.path = rig.dir.path().join("after.img");
    let copied = Command::new("cp")
        .arg("--sparse=always")
        .arg(rig.dir.path().join("pool.img"))
        .arg(&image.path)
        .status();
    assert!(copied.unwrap().success());
    fs::create_dir(&spec.path).unwrap();
    let pool = match Pool::open(&spec) {
        Ok(pool) => pool,
        Err(FilerError::Io { operation: "mount the pool at", source, .. })
            if Errno::from_io_error(&source) == Some(Errno::EXIST) =>
        {
            println!("skipped: this kernel mounts no two file systems of one id");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let after = Rig { dir: tempfile::tempdir().unwrap(), spec, pool: Some(pool), ground: Ground::Btrfs };
    let (before, found) = (rig.pool().list().unwrap(), after.pool().list().unwrap());
    let brief = |volumes: &[VolumeState]| {
        let mut brief: Vec<_> =
            volumes.iter().map(|v| (v.handle.clone(), v.size, format!("{:?}", v.permits))).collect();
        brief.sort();
        brief
    };
    assert_eq!(brief(&before), brief(&found));
    assert_eq!(found.len(), 3);
    let snapshot = after.pool().find_snapshot("v", "s").unwrap().unwrap();
    assert_eq!(fs::read_to_string(snapshot.served.path().join("f")).unwrap(), "in the snapshot");
    assert_eq!(after.pool().stats().unwrap().reserved, Bytes::mib(100));
}

#[test]
fn a_death_at_any_step_of_import_and_release_is_mended_by_repeating() {
    let Some(mut rig) = Rig::on_btrfs() else { return };
    Command::new("btrfs").args(["subvolume", "create"]).arg(rig.inside("old")).output().unwrap();
    fs::write(rig.inside("old/f"), "precious").unwrap();
    let import = |pool: &Pool| pool.import("old", &volume("v", 64)).map(drop);
    let imported = |pool: &Pool| {
        let there = pool.find("v").unwrap();
        let file = there.as_ref().map_or(pool.path().join("old/f"), |v| v.served.path().join("f"));
        assert_eq!(fs::read_to_string(file).unwrap(), "precious");
        there.is_some()
    };
    let release = |pool: &Pool| pool.release("v").map(drop);
    die_everywhere(&mut rig, import, |pool| release(pool).unwrap(), imported);
    die_everywhere(&mut rig, release, |pool| import(pool).unwrap(), |pool| !imported(pool));
}

#[test]
fn a_thick_block_volume_has_its_space_at_once() {
    let Some(rig) = Rig::on_btrfs() else { return };
    let full = CreateVolume { layout: Layout::Block, ..thick("tb", 100) };
    let tb = rig.pool().create(&full).unwrap().into_state();
    assert!(tb.used >= Bytes::mib(100) || rig.pool().find("tb").unwrap().unwrap().used >= Bytes::mib(100));
}
