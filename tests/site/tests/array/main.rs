//! The drivers of ONTAP through Docker, from two hosts over the real wires of a simulated array with data behind it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod blocks;
mod faults;
mod files;
mod nvme;
mod takeover;

use std::sync::{LazyLock, Mutex, PoisonError};

use rig::{Backend, Rig};
use site::{ArraySite, Site};

/// Without the vendor's snapshots and queue, so that nothing is left when all is deleted.
const DEFAULTS: &str = "defaults:\n  snapshotPolicy: none\n  skipRecoveryQueue: \"true\"\n";
/// Who each side says that it is over iSCSI, and how it proves it.
const CHAP: [&str; 4] = ["node", "initiator-word", "array", "target-word-2"];

static RIG: LazyLock<Rig> = LazyLock::new(|| ArraySite::boot(Backend::Uml).unwrap());
static SITE: LazyLock<ArraySite> = LazyLock::new(|| {
    let nas = format!("nfsMountOptions: nfsvers=4.1,hard\n{DEFAULTS}");
    let [user, word, target, target_word] = CHAP;
    let san = format!(
        "useCHAP: true\nchapUsername: {user}\nchapInitiatorSecret: {word}\nchapTargetUsername: {target}\n\
         chapTargetInitiatorSecret: {target_word}\n{DEFAULTS}"
    );
    let backends = [
        ("nas", "ontap-nas", nas.as_str()),
        ("group", "ontap-nas-flexgroup", DEFAULTS),
        ("qtrees", "ontap-nas-economy", DEFAULTS),
        ("san", "ontap-san", san.as_str()),
        ("luns", "ontap-san-economy", san.as_str()),
    ];
    ArraySite::up(&RIG, "nfs,iscsi", &backends).unwrap()
});
static TURN: Mutex<()> = Mutex::new(());

/// Gives a test its turn on the site.
fn on_site(test: impl FnOnce(&ArraySite)) {
    if let Some(reason) = Site::lacking() {
        println!("skipped: {reason}");
        return;
    }
    // Whoever failed had the turn, and the next one may find all well.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = RIG.watch();
    test(&SITE);
}

/// The names of objects of the array that contain a word.
#[track_caller]
fn on_array(site: &ArraySite, collection: &str, word: &str) -> Vec<String> {
    let listed = site.array.ask("GET", &format!("{collection}?name=*{word}*&fields=name"), None).unwrap();
    let names = listed["records"].as_array().into_iter().flatten().filter_map(|own| own["name"].as_str());
    names.map(ToOwned::to_owned).collect()
}
