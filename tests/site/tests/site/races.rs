//! Two hosts that make and delete the same names at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{both, on_site};

const NAMES: [&str; 3] = ["race-a", "race-b", "race-c"];
/// What a user is told who came too late.
const LATE: [&str; 4] = ["no such volume", "there is no volume", "is being", "at work"];

#[test]
fn racing_creates_and_deletes_of_the_same_names_make_no_second_volume_and_leak_none() {
    on_site(|site| {
        let [one, two] = &site.hosts;
        let seed = seed();
        println!("SEED={seed}");
        let refusals = both([one, two], |host| {
            let script = script(seed ^ host.name().len() as u64 ^ u64::from(host.name().as_bytes()[4]));
            host.node().exec(&script).ok("the race")
        });
        for refusal in refusals.iter().flat_map(|said| said.lines()) {
            let is_late = LATE.iter().any(|late| refusal.to_lowercase().contains(late));
            assert!(is_late, "SEED={seed}: {refusal}");
        }
        println!("{} refusals", refusals.iter().flat_map(|said| said.lines()).count());
        let raced = |all: BTreeSet<String>| -> Vec<String> {
            all.into_iter().filter(|name| name.starts_with("race-")).collect()
        };
        let there = raced(site.volumes());
        for host in [one, two] {
            assert_eq!(raced(host.volumes()), there, "SEED={seed}: what {} lists", host.name());
        }
        // Each is whole, and goes for good: from whichever host.
        both([one, two], |host| host.docker(&format!("volume create -d leister {}", NAMES[0])).ok("create"));
        let all = raced(site.volumes());
        assert!(all.len() <= NAMES.len() && all.contains(&NAMES[0].to_owned()), "SEED={seed}: {all:?}");
        for name in &all {
            two.docker(&format!("volume rm {name}")).ok("rm");
        }
        assert_eq!(raced(site.volumes()), raced(one.volumes()), "SEED={seed}");
        assert!(raced(site.volumes()).is_empty(), "SEED={seed}: {:?}", site.volumes());
    });
}

/// Creates and deletes as its dice say; writes down what is refused.
fn script(mut dice: u64) -> String {
    let mut script = String::new();
    for _ in 0..24 {
        // Numerical Recipes' generator: its upper bits are good enough for this.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = NAMES[usize::try_from((dice >> 33) % 3).unwrap()];
        let words = match (dice >> 45) % 2 {
            0 => format!("docker volume create -d leister -o size=16MiB {name}"),
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
