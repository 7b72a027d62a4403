//! Pools on XFS need project quotas, which this machine's kernel may lack: the same tests run in a guest, which sees this
//! program and has a disk of its own.

use std::time::Duration;

use rig::{Backend, Rig, Size};

use super::DISK;
use super::xfs::POWER;

const LIMIT: Duration = Duration::from_secs(1200);

#[test]
fn pools_on_xfs_keep_what_pools_on_btrfs_promise() {
    if std::env::var(DISK).is_ok() {
        println!("does not apply: this is the guest");
        return;
    }
    if let Err(reason) = Rig::available(Backend::Uml) {
        println!("skipped: {reason}");
        return;
    }
    let rig = Rig::builder().guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(1))).up().unwrap();
    let guest = rig.guest("storage");
    let program = std::env::current_exe().unwrap();
    let run = |settings: &str, filter: &str| {
        let run = format!(
            "{DISK}=/dev/ubda {settings} {} {filter} --test-threads=1 --show-output 2>&1",
            program.display()
        );
        let output = guest.exec_within(LIMIT, &run);
        println!("{}", output.stdout);
        output.ok("the tests of pools in the guest");
    };
    run("", "pool::tests::");
    let power = "pool::tests::xfs::what_was_answered_survives_a_loss_of_power";
    run(&format!("{POWER}=goes"), power);
    guest.kill().unwrap();
    guest.start().unwrap();
    run(&format!("{POWER}=back"), power);
}
