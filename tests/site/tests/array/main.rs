//! The drivers of ONTAP through Docker, from two hosts over the real wires of a simulated array with data behind it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod faults;
mod files;

use std::sync::{LazyLock, Mutex, PoisonError};

use rig::{Backend, Rig};
use site::{ArraySite, Host, Site};

/// Without the vendor's snapshots and queue, so that nothing is left when all is deleted.
const DEFAULTS: &str = "defaults:\n  snapshotPolicy: none\n  skipRecoveryQueue: \"true\"\n";
const CHAP: &str = "useCHAP: true\nchapUsername: nodes\nchapInitiatorSecret: secretofnodes\n\
    chapTargetUsername: array\nchapTargetInitiatorSecret: secretofarray\n";

static RIG: LazyLock<Rig> = LazyLock::new(|| ArraySite::boot(Backend::Uml).unwrap());
static SITE: LazyLock<ArraySite> = LazyLock::new(|| {
    let chap = format!("{CHAP}{DEFAULTS}");
    let nas = format!("nfsMountOptions: nfsvers=4.1,hard\n{DEFAULTS}");
    let backends = [
        ("nas", "ontap-nas", nas.as_str()),
        ("group", "ontap-nas-flexgroup", DEFAULTS),
        ("qtrees", "ontap-nas-economy", DEFAULTS),
        ("san", "ontap-san", chap.as_str()),
        ("luns", "ontap-san-economy", chap.as_str()),
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

/// Does something on both hosts at once.
fn both<'a, T: Send>([one, two]: [&'a Host<'a>; 2], work: impl Fn(&'a Host<'a>) -> T + Sync) -> [T; 2] {
    std::thread::scope(|scope| {
        let work = &work;
        let started = [one, two].map(|host| scope.spawn(move || work(host)));
        started.map(|ended| ended.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Waits until it is so.
#[track_caller]
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + site::LIMIT;
    while !condition() {
        assert!(std::time::Instant::now() < until, "waited in vain: {what}");
        #[allow(clippy::disallowed_methods, reason = "the pause between two looks at the condition")]
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The names of objects of the array that contain a word.
#[track_caller]
fn on_array(site: &ArraySite, collection: &str, word: &str) -> Vec<String> {
    let listed = site.array.ask("GET", &format!("{collection}?name=*{word}*&fields=name"), None).unwrap();
    let names = listed["records"].as_array().into_iter().flatten().filter_map(|own| own["name"].as_str());
    names.map(ToOwned::to_owned).collect()
}
