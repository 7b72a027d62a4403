//! What users do with their claims, on nodes over the wires.

use anyhow::{Result, ensure};
use kube_suite::until;

use crate::site::{LIMIT, Site, on_site};

#[test]
fn a_claim_in_use_changes_a_raw_device_moves_one_pod_alone_has_a_claim_and_a_pod_waits_for_room() -> Result<()>
{
    on_site(|site| {
        let stage = site.stage();
        // They wait most of the time, and do not disturb one another.
        let [modified, raw, alone, late] = std::thread::scope(|scope| {
            let modified = scope.spawn(|| stage.a_claim_in_use_changes());
            let raw = scope.spawn(|| stage.a_raw_device_keeps_its_data());
            let alone = scope.spawn(|| stage.a_claim_for_one_pod_is_refused_to_a_second());
            let late = scope.spawn(|| stage.a_pod_waits_for_room());
            [modified, raw, alone, late]
                .map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let volumes = [modified?, raw?, alone?, late?];

        let [modified, ..] = &volumes;
        let pool = site.filer.pool();
        let on_storage =
            site.filer.exec(&format!("stat -c %a {pool}/volumes/*{modified}/data")).ok("its mode");
        ensure!(on_storage.trim() == "711", "{on_storage}");
        let sessions = "ls -d /sys/class/iscsi_session/*";
        ensure!(site.machines[1].guest().exec(sessions).is_ok(), "the device did not come over iSCSI");

        site.delete(&["pod/user-of-modified", "pod/raw-reader", "pod/two", "pod/patient"])?;
        site.delete(&["pvc/modified", "pvc/raw", "pvc/alone", "pvc/late"])?;
        until("the volumes to be gone", LIMIT, || {
            let left = site.volumes();
            let is_left = |volume: &String| left.iter().any(|name| name.contains(volume));
            (!volumes.iter().any(is_left)).then_some(())
        })
    })
}

#[test]
fn clocks_an_hour_apart_on_nodes_controllers_and_the_storage_keep_nobody_from_a_volume() -> Result<()> {
    on_site(|site| {
        let set = |guest: &rig::Guest, clock: &str| {
            guest.exec(&format!("date --set '{clock}'")).ok("set its clock")
        };
        let (storage, [ahead, behind]) =
            (site.filer.guest(), [site.machines[0].guest(), site.machines[1].guest()]);
        for (guest, clock) in [(storage, "1 hour"), (ahead, "1 hour"), (behind, "1 hour ago")] {
            set(guest, clock);
        }
        let used = std::thread::scope(|scope| {
            let files = scope.spawn(|| goes_to_the_other_node(site, "files", "leister"));
            let unit = scope.spawn(|| goes_to_the_other_node(site, "unit", "leister-ext4"));
            [files, unit].map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        for (guest, clock) in [(storage, "1 hour ago"), (ahead, "1 hour ago"), (behind, "1 hour")] {
            set(guest, clock);
        }
        used.into_iter().collect()
    })
}

fn goes_to_the_other_node(site: &Site, name: &str, class: &str) -> Result<()> {
    site.claim(name, &format!("storageClassName: {class}"))?;
    let [first, second] = ["first", "second"].map(|end| format!("{name}-{end}"));
    site.pod(&first, "node1", name, "echo precious >/data/file; sync")?;
    site.ready(&first)?;
    site.delete(&[&format!("pod/{first}")])?;
    site.pod(&second, "node2", name, "")?;
    site.ready(&second)?;
    ensure!(site.exec(&second, "cat /data/file")? == "precious");
    site.delete(&[&format!("pod/{second}"), &format!("pvc/{name}")])
}
