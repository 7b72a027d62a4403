//! The process dies at every step, and the power goes: old or new, never neither.

use super::*;

/// Runs `change` dying at its first step, its second, ..., and after each death opens the pool again; `whole` says
/// whether what is seen is the state before (`false`) or after (`true`), and panics on anything between.
fn die_everywhere(
    rig: &mut Rig,
    change: impl Fn(&Pool) -> Result<(), FilerError>,
    undo: impl Fn(&Pool),
    whole: impl Fn(&Pool) -> bool,
) {
    for step in 0..20 {
        rig.pool().btrfs().steps.die_at(step);
        let died = change(rig.pool()).is_err();
        rig.reopen();
        rig.assert_swept();
        let after = whole(rig.pool());
        assert!(died || after, "step {step}: it said it was done");
        let done = change(rig.pool());
        assert!(done.is_ok() && whole(rig.pool()), "step {step}: repeating it: {done:?}");
        if !died {
            assert!(step > 1);
            return;
        }
        undo(rig.pool());
    }
    panic!("it never ended");
}

#[test]
fn a_death_at_any_step_of_create_leaves_all_or_nothing() {
    let Some(mut rig) = Rig::new() else { return };
    let whole = |pool: &Pool| pool.find("v").unwrap().is_some_and(|v| v.served.path().is_dir());
    let undo = |pool: &Pool| assert!(pool.delete("v").unwrap().changed());
    die_everywhere(&mut rig, |pool| pool.create(&volume("v", 64)).map(drop), undo, whole);
}

#[test]
fn a_death_at_any_step_of_clone_and_delete_leaves_all_or_nothing() {
    let Some(mut rig) = Rig::new() else { return };
    rig.pool().create(&volume("s", 64)).unwrap();
    let create = |pool: &Pool| pool.create(&clone_of("v", 64, "s", None)).map(drop);
    let whole = |pool: &Pool| pool.find("v").unwrap().is_some();
    die_everywhere(&mut rig, create, |pool| assert!(pool.delete("v").unwrap().changed()), whole);
    let gone = |pool: &Pool| pool.find("v").unwrap().is_none();
    die_everywhere(&mut rig, |pool| pool.delete("v").map(drop), |pool| create(pool).unwrap(), gone);
    assert_eq!(rig.pool().stats().unwrap().provisioned_thin, Bytes::mib(64));
}

#[test]
fn a_death_at_any_step_of_take_delete_and_restore_leaves_old_or_new() {
    let Some(mut rig) = Rig::new() else { return };
    let v = rig.pool().create(&volume("v", 64)).unwrap().into_state();
    fs::write(v.served.path().join("f"), "old").unwrap();
    let take = |pool: &Pool| pool.take("v", "s").map(drop);
    let taken = |pool: &Pool| pool.find_snapshot("v", "s").unwrap().is_some();
    let undo = |pool: &Pool| assert!(pool.delete_snapshot("v", "s").unwrap().changed());
    die_everywhere(&mut rig, take, undo, taken);
    let delete = |pool: &Pool| pool.delete_snapshot("v", "s").map(drop);
    let again = |pool: &Pool| take(pool).unwrap();
    die_everywhere(&mut rig, delete, again, |pool| !taken(pool));
    again(rig.pool());
    let file = v.served.path().join("f");
    let spoil = |_: &Pool| fs::write(&file, "new").unwrap();
    spoil(rig.pool());
    let restored = |_: &Pool| match fs::read_to_string(&file).unwrap().as_str() {
        "old" => true,
        "new" => false,
        other => panic!("neither old nor new: {other}"),
    };
    die_everywhere(&mut rig, |pool| pool.restore("v", "s").map(drop), spoil, restored);
}

#[test]
fn a_death_at_any_step_of_grow_import_and_release_is_mended_by_repeating() {
    let Some(mut rig) = Rig::new() else { return };
    rig.pool().create(&volume("g", 64)).unwrap();
    let grown = |pool: &Pool| pool.find("g").unwrap().unwrap().size == Bytes::mib(80);
    let grow = |pool: &Pool| pool.grow("g", Bytes::mib(80)).map(drop);
    let undo = |pool: &Pool| {
        pool.delete("g").unwrap();
        pool.create(&volume("g", 64)).unwrap();
    };
    die_everywhere(&mut rig, grow, undo, grown);
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

/// A copy of the image is what a host that lost power at that moment would find.
#[test]
fn what_was_answered_survives_a_loss_of_power() {
    let Some(rig) = Rig::new() else { return };
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
            eprintln!("SKIPPED: this kernel mounts no two file systems of one id");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let after = Rig { dir: tempfile::tempdir().unwrap(), spec, pool: Some(pool) };
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
