//! Pools on LVM, in a guest: this machine's kernel may have no device-mapper. The guest sees this machine's files, so
//! the same program runs there, once for each case.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests, where the lints do not look")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use filer::{
    Ability, CreateVolume, ErrorKind, FilerError, Layout, Outcome, Pool, PoolSpec, Provisioning, Source,
    VolumeState,
};
use model::{Bytes, NodeIdentity, NodeName, Permit};
use rig::{Backend, Rig, Size};

/// Set in the guest: which case to run.
const CASE: &str = "FILER_CASE";
const LIMIT: Duration = Duration::from_secs(900);

/// LVM's defaults know no disks of user-mode Linux, and wait for udev and a monitor that a guest does not need.
const LVM: &str = "printf '%s\\n' 'devices { types = [ \"ubd\", 16 ] obtain_device_list_from_udev = 0 \
                   global_filter = [ \"a|^/dev/ubd|\", \"r|.*|\" ] }' \
                   'activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }' \
                   'backup { backup = 0 archive = 0 }' >/etc/lvm/lvm.conf && \
                   vgcreate -q vg /dev/ubda && lvcreate -q -y --type thin-pool -L 128M -n pool vg";

const CASES: &[(&str, fn())] = &[
    ("a_volume_is_made_once_found_and_deleted", a_volume_is_made_once_found_and_deleted),
    ("snapshots_clones_and_restores_have_the_right_content", snapshots_clones_and_restores),
    ("permits_and_marks_outlive_the_process", permits_and_marks_outlive_the_process),
    ("what_a_death_left_is_swept_and_the_rest_stays", what_a_death_left_is_swept),
    ("a_nearly_full_pool_begins_nothing_and_says_so", a_nearly_full_pool_begins_nothing),
    ("damage_and_others_are_left_alone", damage_and_others_are_left_alone),
];

#[test]
fn pools_on_lvm_keep_what_they_promise() {
    if let Ok(wanted) = std::env::var(CASE) {
        let (_, case) = CASES.iter().find(|(name, _)| *name == wanted).unwrap();
        return case();
    }
    if let Err(reason) = Rig::available(Backend::Uml) {
        println!("skipped: {reason}");
        return;
    }
    let rig = Rig::builder().guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(2))).up().unwrap();
    let guest = rig.guest("storage");
    guest.exec_within(LIMIT, LVM).ok("a thin pool");
    let program = std::env::current_exe().unwrap();
    for (name, _) in CASES {
        let run = format!(
            "{CASE}={name} {} --exact pools_on_lvm_keep_what_they_promise --nocapture 2>&1",
            program.display()
        );
        let output = guest.exec_within(LIMIT, &run);
        println!("{name}: {}", if output.is_ok() { "ok" } else { "FAILED" });
        output.ok(name);
    }
}

fn a_volume_is_made_once_found_and_deleted() {
    let pool = open();
    let abilities = pool.abilities();
    assert_eq!(abilities.kind, "lvm");
    assert_eq!((abilities.granularity, abilities.layouts.len()), (Bytes::mib(4), 1));
    assert!(matches!(abilities.layouts[&Layout::Block].thick, Ability::Lacks(_)));
    let v = pool.create(&volume("v", 16)).unwrap();
    assert!(v.changed() && !pool.create(&volume("v", 16)).unwrap().changed());
    let v = v.into_state();
    assert_eq!((v.size, v.staged, length(&v)), (Bytes::mib(16), Some(false), 16 << 20));
    refused(pool.create(&volume("v", 20)), ErrorKind::Conflict, "exists");
    refused(pool.create(&volume("w", 15)), ErrorKind::Invalid, "multiple of 4");
    let file = CreateVolume { layout: Layout::File, ..volume("w", 16) };
    refused(pool.create(&file), ErrorKind::Unsupported, "block volumes only");
    let thick = CreateVolume { provisioning: Provisioning::Thick, ..volume("w", 16) };
    refused(pool.create(&thick), ErrorKind::Unsupported, "sets no space aside");
    assert!(pool.grow("v", Bytes::mib(32)).unwrap().changed());
    assert!(!pool.grow("v", Bytes::mib(32)).unwrap().changed());
    assert_eq!(length(&v), 32 << 20);
    refused(pool.grow("v", Bytes::mib(16)), ErrorKind::Invalid, "cannot shrink");
    assert_eq!(pool.list().unwrap().len(), 1);
    let open = File::open(v.served.path()).unwrap();
    refused(pool.delete("v"), ErrorKind::InUse, "open");
    drop(open);
    assert!(pool.delete("v").unwrap().changed() && !pool.delete("v").unwrap().changed());
    assert_eq!(pool.find("v").unwrap(), None);
    refused(Pool::open(&PoolSpec::on_lvm("vg", "none", "us")), ErrorKind::Conflict, "in use by process");
    drop(pool);
    refused(Pool::open(&PoolSpec::on_lvm("vg", "none", "us")), ErrorKind::NotFound, "thin pool `none`");
    refused(Pool::open(&PoolSpec::on_lvm("none", "pool", "us")), ErrorKind::NotFound, "none");
}

fn snapshots_clones_and_restores() {
    let pool = open();
    let v = pool.create(&volume("v", 16)).unwrap().into_state();
    pool.take("v", "blank").unwrap();
    write(&v, b"old");
    pool.mark_staged("v").unwrap();
    assert!(pool.take("v", "s").unwrap().changed() && !pool.take("v", "s").unwrap().changed());
    write(&v, b"new");
    let names: Vec<_> = pool.list_snapshots("v").unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["blank", "s"]);
    refused(pool.delete("v"), ErrorKind::InUse, "snapshots blank, s");
    for (handle, mib, snapshot, content, staged) in [
        ("c1", 16, Some("s"), b"old", true),
        ("c2", 32, None, b"new", true),
        ("c3", 16, Some("blank"), b"\0\0\0", false),
    ] {
        let c = pool.create(&clone_of(handle, mib, snapshot)).unwrap().into_state();
        assert_eq!((&read(&c), c.staged, length(&c)), (content, Some(staged), mib << 20), "{handle}");
    }
    refused(pool.create(&clone_of("c4", 8, None)), ErrorKind::Invalid, "at least that");
    refused(pool.create(&clone_of("c4", 16, Some("none"))), ErrorKind::NotFound, "none");
    pool.permit("v", &shared("n1")).unwrap();
    refused(pool.restore("v", "s"), ErrorKind::InUse, "n1");
    pool.forbid("v", &shared("n1").node.name).unwrap();
    pool.grow("v", Bytes::mib(24)).unwrap();
    let v = pool.restore("v", "s").unwrap().into_state();
    assert_eq!((&read(&v), v.staged, length(&v)), (b"old", Some(true), 24 << 20));
    let v = pool.restore("v", "blank").unwrap().into_state();
    assert_eq!((&read(&v), v.staged), (b"\0\0\0", Some(false)));
    assert_eq!(pool.list_snapshots("v").unwrap().len(), 2);
    for name in ["s", "blank"] {
        assert!(pool.delete_snapshot("v", name).unwrap().changed());
        assert!(!pool.delete_snapshot("v", name).unwrap().changed());
    }
    assert_eq!(&read(&pool.find("c1").unwrap().unwrap()), b"old");
    empty(&pool);
}

fn permits_and_marks_outlive_the_process() {
    let pool = open();
    let mut wanted = volume("v", 16);
    wanted.labels.insert("long".to_owned(), "x".repeat(5000));
    pool.create(&wanted).unwrap();
    let alone = Permit::exclusive(shared("n1").node);
    assert!(pool.permit("v", &alone).unwrap().changed() && !pool.permit("v", &alone).unwrap().changed());
    refused(pool.permit("v", &shared("n2")), ErrorKind::InUse, "`n1` alone");
    assert!(pool.mark_staged("v").unwrap().changed() && !pool.mark_staged("v").unwrap().changed());
    drop(pool);
    lvm(&["lvchange", "-an", "vg"]);
    let pool = open();
    let v = pool.find("v").unwrap().unwrap();
    assert_eq!((&v.permits, v.staged, v.labels["long"].len()), (&vec![alone], Some(true), 5000));
    assert_eq!(length(&v), 16 << 20, "its device is there again");
    drop(pool);
    let theirs = Pool::open(&PoolSpec::on_lvm("vg", "pool", "them")).unwrap();
    for refusal in
        [theirs.delete("v").map(drop), theirs.take("v", "s").map(drop), theirs.mark_staged("v").map(drop)]
    {
        refused(refusal, ErrorKind::Conflict, "belongs to instance `us`");
    }
    drop(theirs);
    let pool = open();
    pool.forbid("v", &shared("n1").node.name).unwrap();
    empty(&pool);
}

fn what_a_death_left_is_swept() {
    let pool = open();
    let v = pool.create(&volume("v", 16)).unwrap().into_state();
    write(&v, b"old");
    pool.take("v", "s").unwrap();
    write(&v, b"new");
    // A restore died after its copy: two volumes of one handle. The tags of the copy say a higher generation.
    let copied = pool.restore("v", "s").unwrap().into_state();
    let name = copied.served.path().file_name().unwrap().to_str().unwrap().to_owned();
    let tags = lvm(&["lvs", "--noheadings", "-o", "lv_tags", &format!("vg/{name}")]);
    let mut words = vec!["lvcreate", "-q", "-s", "-kn", "-n", "leister-left"];
    tags.trim().split(',').for_each(|tag| words.extend(["--addtag", tag]));
    let from = format!("vg/{name}");
    words.push(&from);
    lvm(&words);
    assert_eq!(pool.list().unwrap().len(), 1, "one of one handle counts");
    drop(pool);
    let pool = open();
    assert_eq!(&read(&pool.find("v").unwrap().unwrap()), b"old");
    let left = lvm(&["lvs", "--noheadings", "-o", "lv_name", "-S", "lv_name=~^leister", "vg"]);
    assert_eq!(left.lines().count(), 2, "the volume and its snapshot: {left}");
    empty(&pool);
}

fn a_nearly_full_pool_begins_nothing() {
    let pool = open();
    let v = pool.create(&volume("v", 124)).unwrap().into_state();
    refused(pool.create(&volume("w", 8)), ErrorKind::NoCapacity, "can promise 4MiB more");
    pool.take("v", "s").unwrap();
    let before = pool.stats().unwrap();
    assert_eq!(before.thin_limit, Bytes::mib(128));
    let device = File::options().write(true).open(v.served.path()).unwrap();
    for mib in 0..124 {
        device.write_all_at(&[mib; 1 << 20], u64::from(mib) << 20).unwrap();
    }
    device.sync_all().unwrap();
    drop(device);
    for refusal in [
        pool.create(&volume("w", 4)).map(drop),
        pool.take("v", "t").map(drop),
        pool.grow("v", Bytes::mib(128)).map(drop),
        pool.restore("v", "s").map(drop),
    ] {
        refused(refusal, ErrorKind::NoCapacity, "% of its data taken, 95 % is the most");
    }
    let full = pool.stats().unwrap();
    assert_eq!(full.thin_limit, full.provisioned_thin, "nothing is offered any more");
    assert!(full.used > Bytes::mib(121) && full.free < Bytes::mib(7), "{full:?}");
    assert_eq!(&read(&v), &[8; 3], "what was written is there");
    empty(&pool);
    assert!(pool.create(&volume("w", 4)).unwrap().changed());
    empty(&pool);
}

fn damage_and_others_are_left_alone() {
    lvm(&["lvcreate", "-q", "-y", "--thinpool", "pool", "-V", "16M", "-n", "theirs", "vg"]);
    let pool = open();
    pool.create(&volume("fine", 16)).unwrap();
    let v = pool.create(&volume("v", 16)).unwrap().into_state();
    drop(pool);
    let broken = format!("vg/{}", v.served.path().file_name().unwrap().to_str().unwrap());
    let tags = lvm(&["lvs", "--noheadings", "-o", "lv_tags", &broken]);
    lvm(&[
        "lvchange",
        "--deltag",
        tags.trim().split(',').next().unwrap(),
        "--addtag",
        "leister:0/1:broken",
        &broken,
    ]);
    let pool = open();
    let handles: Vec<_> = pool.list().unwrap().into_iter().map(|v| v.handle).collect();
    assert_eq!(handles, ["fine"]);
    let damaged = pool.damaged().unwrap();
    assert!(damaged.len() == 1 && damaged[0].problem.contains(&broken), "{damaged:?}");
    refused(pool.create(&volume("v", 16)), ErrorKind::Conflict, "cannot be told");
    refused(pool.find("v"), ErrorKind::Conflict, "cannot be told");
    assert!(pool.find("fine").unwrap().is_some());
    refused(pool.import("theirs", &volume("w", 16)), ErrorKind::Unsupported, "copy its content");
    assert!(pool.list_foreign().unwrap().iter().any(|foreign| foreign.name == "theirs"));
    lvm(&["lvs", "vg/theirs"]);
    lvm(&["lvremove", "-q", "-f", &broken, "vg/theirs"]);
    empty(&pool);
}

fn open() -> Pool {
    Pool::open(&PoolSpec::on_lvm("vg", "pool", "us")).unwrap()
}

fn empty(pool: &Pool) {
    for volume in pool.list().unwrap() {
        for snapshot in pool.list_snapshots(&volume.handle).unwrap() {
            pool.delete_snapshot(&volume.handle, &snapshot.name).unwrap();
        }
        assert!(matches!(pool.delete(&volume.handle), Ok(Outcome::Changed(()))));
    }
}

fn volume(handle: &str, mib: u64) -> CreateVolume {
    CreateVolume { layout: Layout::Block, ..CreateVolume::new(handle, Bytes::mib(mib)) }
}

fn clone_of(handle: &str, mib: u64, snapshot: Option<&str>) -> CreateVolume {
    let source = match snapshot {
        Some(name) => Source::Snapshot { handle: "v".to_owned(), name: name.to_owned() },
        None => Source::Volume { handle: "v".to_owned() },
    };
    CreateVolume { source: Some(source), ..volume(handle, mib) }
}

fn shared(node: &str) -> Permit {
    Permit::shared(NodeIdentity::named(NodeName::new(node).unwrap()))
}

fn write(volume: &VolumeState, content: &[u8; 3]) {
    let device = File::options().write(true).open(volume.served.path()).unwrap();
    device.write_all_at(content, 8 << 20).unwrap();
    device.sync_all().unwrap();
}

fn read(volume: &VolumeState) -> [u8; 3] {
    let mut content = [0; 3];
    File::open(volume.served.path()).unwrap().read_exact_at(&mut content, 8 << 20).unwrap();
    content
}

fn length(volume: &VolumeState) -> u64 {
    use std::io::{Seek, SeekFrom};
    File::open(volume.served.path()).unwrap().seek(SeekFrom::End(0)).unwrap()
}

fn lvm(words: &[&str]) -> String {
    let output = Command::new("lvm").args(words).env("LVM_SUPPRESS_FD_WARNINGS", "1").output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, FilerError>, kind: ErrorKind, word: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(word), "`{error}` lacks `{word}`");
}
