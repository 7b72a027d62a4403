//! Hosts that are gone, and come back.

use rig::Guest;
use site::{Host, LIMIT, Site, wait};

use crate::{nothing_is_left, on_site};

/// Volumes that are of one host at a time: name and options.
pub(crate) type Kinds = [(&'static str, &'static str)];

pub(crate) const KINDS: &Kinds =
    &[("blocks", "-o fileSystemType=ext4"), ("files", "-o accessMode=ReadWriteOnce")];
/// What a fenced host tries to write.
const MARK: &str = "written-by-a-host-that-was-fenced";

/// What the heir of a host found.
#[derive(Debug)]
struct Found {
    /// By volume, the last number that its writer had written.
    numbers: Vec<u64>,
    hashes: Vec<String>,
}

/// Makes volumes on a host and lets it write to them.
fn work(host: &Host<'_>, kinds: &Kinds) {
    for (volume, options) in kinds {
        host.create(volume, options).ok("create");
        host.write(volume).ok("a writer");
    }
    for (volume, _) in kinds {
        wait(&format!("{volume} is written to"), || host.acknowledged(volume) > 3);
    }
}

/// Takes all from one host; the other one goes on with it.
fn take_over(heir: &Host<'_>, gone: &Host<'_>, kinds: &Kinds) -> Found {
    let refused = heir.shell("blocks", "true");
    let has = format!("in use on node `{}`", gone.name());
    assert!(!refused.is_ok() && refused.stderr.contains(&has), "{refused:?}");
    heir.leister(&format!("fence node {} --yes", gone.name())).ok("fence");
    let mut numbers = Vec::new();
    for (volume, _) in kinds {
        heir.hold(volume).ok("it runs on the other host");
        let found = heir.within(volume, "cat /data/log").ok("what was written");
        let acknowledged = gone.acknowledged(volume);
        let lines: Vec<u64> = found.lines().filter_map(|line| line.parse().ok()).collect();
        println!("{volume}: {acknowledged} acknowledged, {} found", lines.len());
        assert!(lines.len() as u64 >= acknowledged, "{volume}: {acknowledged} were acknowledged: {found}");
        assert!(lines.iter().zip(1..).all(|(line, number)| *line == number), "{volume}: {found}");
        heir.within(volume, "echo taken over >>/data/log && sync /data/log").ok("write");
        numbers.push(lines.len() as u64);
    }
    Found { numbers, hashes: contents(heir, kinds) }
}

/// What lies on the storage, not what a cache has.
fn contents(host: &Host<'_>, kinds: &Kinds) -> Vec<String> {
    host.node().exec("sync; echo 3 >/proc/sys/vm/drop_caches").ok("forget");
    kinds.iter().map(|(volume, _)| host.within(volume, "sha256sum /data/log").ok("hash")).collect()
}

/// The host that was fenced has changed nothing since, and nothing that it took for written is missing.
fn nothing_was_lost(heir: &Host<'_>, gone: &Host<'_>, found: &Found, kinds: &Kinds) {
    assert_eq!(contents(heir, kinds), found.hashes);
    for ((volume, _), number) in kinds.iter().zip(&found.numbers) {
        let acknowledged = gone.acknowledged(volume);
        assert!(acknowledged <= *number, "{volume}: {acknowledged} was acknowledged, {number} is there");
    }
}

/// All of it comes to an end; the host that was fenced gets the volumes again.
fn give_back(site: &Site, heir: &Host<'_>, back: &Host<'_>, kinds: &Kinds) {
    for (volume, _) in kinds {
        heir.end(volume).ok("end");
        assert!(back.shell(volume, "cat /data/log").ok("read").ends_with("taken over"));
        back.docker(&format!("volume rm {volume}")).ok("rm");
    }
    let there = site.volumes(back);
    assert!(kinds.iter().all(|(volume, _)| !there.contains(*volume)), "{there:?}");
}

/// Tries whatever a host can do by hand to reach the storage.
fn try_by_hand(site: &Site, guest: &Guest) -> String {
    let script = format!(
        "portal={storage}
        iscsiadm -m discovery -t sendtargets -p $portal && iscsiadm -m node -l
        udevadm settle
        for disk in /dev/sd*; do [ ! -b $disk ] || (echo {MARK} | dd of=$disk bs=1M conv=fsync); done
        iscsiadm -m node -u; iscsiadm -m node -o delete
        mkdir -p /by-hand
        mount -t nfs -o vers=4.2,soft,timeo=50,retry=0 $portal:/leister/leister.leister_files /by-hand &&
            echo {MARK} >/by-hand/log
        umount /by-hand
        true",
        storage = site.filer.guest().address(0)
    );
    let tried = guest.exec_within(LIMIT, &script);
    format!("{}{}", tried.stdout, tried.stderr)
}

fn nothing_was_written(site: &Site, tried: &str) {
    let look = format!("sync; grep -rl {MARK} {}/volumes; true", site.filer.pool());
    assert_eq!(site.filer.exec(&look).ok("look"), "", "{tried}");
}

#[test]
fn a_host_that_lost_power_lost_nothing_it_had_acknowledged_and_cannot_write_when_it_comes_back() {
    on_site(|site| {
        let [one, two] = &site.hosts;
        work(one, KINDS);
        one.guest().kill().unwrap();
        let found = take_over(two, one, KINDS);
        site.start(one.guest()).unwrap();
        for (volume, _) in KINDS {
            let refused = one.docker(&format!("start {volume}"));
            assert!(!refused.is_ok() && refused.stderr.contains("in use on node `node2`"), "{refused:?}");
        }
        let tried = try_by_hand(site, one.guest());
        println!("{tried}");
        nothing_was_written(site, &tried);
        nothing_was_lost(two, one, &found, KINDS);
        for (volume, _) in KINDS {
            one.end(volume).ok("end");
        }
        give_back(site, two, one, KINDS);
    });
}

#[test]
fn a_host_that_was_cut_off_while_it_was_fenced_writes_no_more() {
    let links = |host: &Host<'_>, change: fn(&Guest, u8)| (0..2).for_each(|link| change(host.guest(), link));
    on_site(|site| {
        outlive(
            site,
            site.hosts.each_ref(),
            KINDS,
            |host| links(host, |guest, link| guest.cut(link).unwrap()),
            |host| links(host, |guest, link| guest.join(link).unwrap()),
        );
    });
}

#[test]
fn a_host_that_stood_still_while_it_was_fenced_writes_no_more() {
    on_site(|site| {
        outlive(
            site,
            site.hosts.each_ref(),
            KINDS,
            |host| host.guest().stop().unwrap(),
            |host| host.guest().cont().unwrap(),
        );
    });
}

/// A host goes away without an end, is fenced, and comes back in the middle of its writing.
pub(crate) fn outlive(
    site: &Site,
    [heir, gone]: [&Host<'_>; 2],
    kinds: &Kinds,
    go: impl Fn(&Host<'_>),
    come: impl Fn(&Host<'_>),
) {
    work(gone, kinds);
    go(gone);
    let found = take_over(heir, gone, kinds);
    come(gone);
    for (volume, _) in kinds {
        wait(&format!("the writer of {volume} fails"), || gone.failed(volume) || gone.waits_in_vain(volume));
    }
    nothing_was_lost(heir, gone, &found, kinds);
    // It lets go of them by itself.
    nothing_is_left(gone);
    for (volume, _) in kinds {
        gone.end(volume).ok("end");
    }
    give_back(site, heir, gone, kinds);
}
