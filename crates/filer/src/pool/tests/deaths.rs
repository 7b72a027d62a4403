//! The process dies at every step: old or new, never neither.

use super::*;

/// Runs `change` dying at its first step, its second, ..., and after each death opens the pool again; `whole` says
/// whether what is seen is the state before (`false`) or after (`true`), and panics on anything between.
pub(super) fn die_everywhere(
    rig: &mut Rig,
    change: impl Fn(&Pool) -> Result<(), FilerError>,
    undo: impl Fn(&Pool),
    whole: impl Fn(&Pool) -> bool,
) {
    for step in 0..20 {
        rig.pool().steps().die_at(step);
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
fn a_death_at_any_step_of_grow_is_mended_by_repeating() {
    let Some(mut rig) = Rig::new() else { return };
    rig.pool().create(&volume("g", 64)).unwrap();
    let grown = |pool: &Pool| pool.find("g").unwrap().unwrap().size == Bytes::mib(80);
    let grow = |pool: &Pool| pool.grow("g", Bytes::mib(80)).map(drop);
    let undo = |pool: &Pool| {
        pool.delete("g").unwrap();
        pool.create(&volume("g", 64)).unwrap();
    };
    die_everywhere(&mut rig, grow, undo, grown);
}
