//! What is told from the times of changes.

use super::*;
use crate::Watch;

/// The kernel sets the time of a change by a clock that is behind, by how much depends on the machine.
#[test]
fn a_change_is_seen_however_soon_it_comes_and_what_was_before_is_none() {
    let Some(rig) = Rig::new() else { return };
    let pool = rig.pool();
    let v = pool.create(&volume("v", 64)).unwrap().into_state();
    let path = v.served.path();
    fs::create_dir_all(path.join("a/b")).unwrap();
    let look = |watch: &Watch| watch.saw_no_change(fs::File::open(path).unwrap()).unwrap();
    for round in 0..40 {
        fs::write(path.join("a/b/file"), "before").unwrap();
        let watch = Watch::begin(fs::File::open(path).unwrap()).unwrap();
        assert!(look(&watch), "round {round}: nothing has changed");
        let watch = Watch::begin(fs::File::open(path).unwrap()).unwrap();
        match round % 4 {
            0 => fs::write(path.join("a/b/file"), "after").unwrap(),
            1 => fs::File::create(path.join("a/b/other")).map(drop).unwrap(),
            2 => fs::rename(path.join("a/b/other"), path.join("a/b/another")).unwrap(),
            _ => fs::remove_file(path.join("a/b/another")).unwrap(),
        }
        assert!(!look(&watch), "round {round}: a change");
    }
}
