//! The same suite over the pools that need another kernel: in a guest, which sees this program. Over files on XFS all of
//! it, over blocks what differs most.

use std::time::Duration;

use rig::{Backend, Rig, Size};

use crate::host::{GROUND, THIN_POOL};

const LIMIT: Duration = Duration::from_secs(1800);

/// LVM's defaults know no disks of user-mode Linux, and wait for udev and a monitor that a guest does not need.
const LVM: &str = "printf '%s\\n' 'devices { types = [ \"ubd\", 16 ] obtain_device_list_from_udev = 0 \
                   global_filter = [ \"a|^/dev/ubd|\", \"r|.*|\" ] }' \
                   'activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }' \
                   'backup { backup = 0 archive = 0 }' >/etc/lvm/lvm.conf && \
                   vgcreate -q vg0 /dev/ubdb && lvcreate -q -y --type thin-pool -L 512M -n thin vg0";

/// What differs most between kinds of pools. A guest starts a program in a tenth of a second, and LVM is made of programs:
/// `WHOLE=1` runs all proofs, which takes some minutes.
const PROOFS: [&str; 4] = [
    "a_created_volume_is_observed_listed_and_counted",
    "a_snapshot_keeps_the_content_of_its_instant",
    "a_clone_may_be_larger_but_not_smaller",
    "foreign_volumes_are_never_touched",
];

#[test]
fn the_suite_passes_over_xfs_and_thin_pools_of_lvm() {
    if std::env::var(GROUND).is_ok() {
        println!("does not apply: this is the guest");
        return;
    }
    if let Err(reason) = Rig::available(Backend::Uml) {
        println!("skipped: {reason}");
        return;
    }
    let rig = Rig::builder()
        .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(1)).disk(Size::gib(1)))
        .up()
        .unwrap();
    let guest = rig.guest("storage");
    guest.exec_within(LIMIT, LVM).ok("a thin pool");
    let program = std::env::current_exe().unwrap();
    for (ground, layout) in [("/dev/ubda", "files"), ("/dev/ubda", "blocks"), (THIN_POOL, "blocks")] {
        let whole = std::env::var("WHOLE").is_ok() || layout == "files";
        let suite = if whole {
            format!("{layout}::")
        } else {
            PROOFS.map(|proof| format!("{layout}::{proof}")).join(" ")
        };
        let run = format!("{GROUND}={ground} {} {suite} --test-threads=1 2>&1", program.display());
        let output = guest.exec_within(LIMIT, &run);
        let said = output.stdout.clone();
        println!("over {ground}:\n{said}");
        output.ok(&suite);
        assert!(said.contains(" passed") && !said.contains(" 0 passed"), "nothing ran");
    }
}
