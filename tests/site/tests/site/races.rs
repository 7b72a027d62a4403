//! Two hosts that make and delete the same names at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use site::{Host, Site, both, wait};

use crate::on_site;

const NAMES: [char; 3] = ['a', 'b', 'c'];
/// What a user is told who came too late.
const LATE: [&str; 4] = ["no such volume", "there is no volume", "is being", "at work"];

#[test]
fn racing_creates_and_deletes_of_the_same_names_make_no_second_volume_and_leak_none() {
    on_site(|site| race(site, site.hosts.each_ref(), &[], || {}));
}

/// Both create and delete; in the midst of it `meanwhile` happens, for which they may be refused with `more`.
pub(crate) fn race(site: &Site, [one, two]: [&Host<'_>; 2], more: &[&str], meanwhile: impl FnOnce() + Send) {
    let seed = seed();
    println!("SEED={seed}");
    let raced = |all| raced(one.driver(), all);
    let pool = || raced(site.volumes(one));
    let refusals = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait("the race is on", || !pool().is_empty());
            meanwhile();
        });
        both([one, two], |host| {
            let dice = seed ^ u64::from(host.name().as_bytes()[4]);
            host.node().exec(&script(host.driver(), dice)).ok("the race")
        })
    });
    let refusals: Vec<&str> = refusals.iter().flat_map(|said| said.lines()).collect();
    println!("{} refusals", refusals.len());
    for refusal in refusals {
        let says = |part: &&str| refusal.to_lowercase().contains(part);
        assert!(LATE.iter().chain(more).any(says), "SEED={seed}: {refusal}");
    }
    for host in [one, two] {
        wait("it lists what is there", || raced(host.volumes()) == pool());
    }
    // Each is whole, and goes for good: from whichever host.
    let first = named(one.driver(), NAMES[0]);
    both([one, two], |host| host.create(&first, "").ok("create"));
    let all = pool();
    assert!(all.len() <= NAMES.len() && all.contains(&first), "SEED={seed}: {all:?}");
    for name in &all {
        two.docker(&format!("volume rm {name}")).ok("rm");
    }
    assert!(pool().is_empty(), "SEED={seed}: {:?}", pool());
    wait("nobody lists any", || [one, two].iter().all(|host| raced(host.volumes()).is_empty()));
}

/// An engine that was not told of its end does not list a name for another driver.
fn named(driver: &str, of: char) -> String {
    format!("race-{driver}-{of}")
}

fn raced(driver: &str, all: BTreeSet<String>) -> BTreeSet<String> {
    let ours: Vec<String> = NAMES.iter().map(|of| named(driver, *of)).collect();
    all.into_iter().filter(|name| ours.contains(name)).collect()
}

/// Creates and deletes as its dice say; writes down what is refused.
fn script(driver: &str, mut dice: u64) -> String {
    let mut script = String::new();
    for _ in 0..24 {
        // Numerical Recipes' generator: its upper bits are good enough for this.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = named(driver, NAMES[usize::try_from((dice >> 33) % 3).unwrap()]);
        let words = match (dice >> 45) % 2 {
            0 => format!("docker volume create -d {driver} -o size=16MiB {name}"),
            _ => format!("docker volume rm {name}"),
        };
        writeln!(script, "{words} 2>&1 >/dev/null | tr '\\n' ' ' | sed 's/$/\\n/' | grep . ; true").unwrap();
    }
    script
}

fn seed() -> u64 {
    let given = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}
