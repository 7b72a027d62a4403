//! Rigs beside one another, and the evidence of one that failed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rig::{Backend, Rig, Size};

use crate::can_run;

fn small() -> Rig {
    Rig::builder().guest("twin", |g| g.memory(Size::mib(128))).up().unwrap()
}

#[test]
fn two_rigs_side_by_side_do_not_see_each_other() {
    if !can_run(Backend::Uml) {
        return;
    }
    let (one, other) = (small(), small());
    assert_ne!(one.folder(), other.folder());
    for (rig, text) in [(&one, "one"), (&other, "other")] {
        let twin = rig.guest("twin");
        twin.put("/rig/who", text).unwrap();
        rig.host(&format!("ping -q -c 1 -W 10 {}", twin.address(0))).ok("its own guest answers");
    }
    one.guest("twin").cut(0).unwrap();
    one.host(&format!("! ping -q -c 1 -W 1 {}", one.guest("twin").address(0))).ok("cut");
    other.host(&format!("ping -q -c 1 -W 10 {}", other.guest("twin").address(0))).ok("not the other's cable");
    assert_eq!(one.guest("twin").exec("cat /rig/who").ok("read"), "one");
    one.down().unwrap();
    assert_eq!(other.guest("twin").exec("cat /rig/who").ok("read"), "other");
}

#[test]
fn a_failed_test_keeps_what_every_guest_said() {
    if !can_run(Backend::Uml) {
        return;
    }
    let name = format!("witness-{}", std::process::id());
    let doctor = tempfile::Builder::new().prefix("doctor-").tempfile().unwrap().into_temp_path();
    fs::write(&doctor, "#!/bin/sh\necho the $1 of $(hostname)\n").unwrap();
    fs::set_permissions(&doctor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut folder = None;
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let rig = Rig::builder().guest(&name, |g| g.memory(Size::mib(128))).leister(&*doctor).up().unwrap();
        folder = Some(rig.folder().to_path_buf());
        rig.guest(&name).put("/rig/logs/daemon.log", "its last line\n").unwrap();
        assert_eq!(rig.watch().over(|| Err::<(), _>("refused")), Err("refused"));
        fs::remove_dir_all(evidence(&name)).expect("an error keeps it as well");
        rig.guest(&name).exec("exit 9").ok("the step that fails");
    }));
    assert!(failed.is_err() && !folder.unwrap().exists(), "the rig itself is gone");
    let kept = evidence(&name);
    let read = |file: &str| fs::read_to_string(kept.join(&name).join(file)).unwrap();
    assert!(read("dmesg").contains("Linux version"), "{}", read("dmesg"));
    assert_eq!(read("doctor"), format!("the doctor of {name}\n"));
    assert_eq!(read("rig/logs/daemon.log"), "its last line\n");
    assert!(kept.join(&name).join("console").is_file());
    fs::remove_dir_all(kept).unwrap();
}

/// The folder that was kept of the guest of this name.
fn evidence(guest: &str) -> PathBuf {
    let entries = fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().path());
    let mut kept = entries.filter(|path| path.join(guest).is_dir());
    kept.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("evidence-")).unwrap()
}

#[test]
fn a_guest_that_does_not_come_up_says_what_its_console_said() {
    if !can_run(Backend::Uml) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::builder().guest("broken", |g| g).detached_at(folder.path().join("rig")).up().unwrap();
    let broken = rig.guest("broken");
    broken.kill().unwrap();
    fs::remove_file(broken.share().join("env")).unwrap();
    fs::create_dir(broken.share().join("env")).unwrap();
    let error = broken.start().unwrap_err();
    assert!(format!("{error:#}").contains("env"), "{error:#}");
    rig.down().unwrap();
}
