//! The CSI project's own suite, over NFS and iSCSI from a filer and from an array: by a controller and a node apart, and
//! by one process without Kubernetes.

use anyhow::{Result, ensure};
use filer_suite::plugin::{self, Plugin};
use filer_suite::{Simulator, program};
use go_suite::Sanity;
use kube_suite::{INSTANCE, RECORDS};
use rig::Limit;

use crate::site::{Site, on_site};

/// Drivers of the array, what volumes are asked of each, and of which size: the array makes none of the suite's own.
/// `ontap-nas-economy` is not among them: it has no snapshots, and CSI has one word for all backends of a plugin.
const DRIVERS: [(&str, &str, u64); 4] = [
    ("ontap-nas", "mount", 32 << 20),
    ("ontap-nas-flexgroup", "mount", 1 << 30),
    ("ontap-san", "block", 32 << 20),
    ("ontap-san-economy", "block", 32 << 20),
];
/// Without the vendor's snapshots and queue, so that nothing is left when all is deleted.
const DEFAULTS: &str = "defaults: {snapshotPolicy: none, skipRecoveryQueue: \"true\"}\n";

#[test]
fn csi_sanity_passes_by_a_controller_and_a_node_and_by_one_process() -> Result<()> {
    on_site(|site| {
        let sanity = Sanity::get()?;
        let array = site.array()?;
        // Each on a machine of its own, at the same time.
        std::thread::scope(|scope| {
            let apart = scope.spawn(|| apart(site, &sanity, array));
            let alone = alone(site, &sanity, array);
            apart.join().map_err(|_| anyhow::anyhow!("the other half panicked"))??;
            alone
        })?;
        let left = array.ask("GET", "/storage/volumes?name=sanity*", None)?;
        let left = left["records"].as_array().into_iter().flatten().map(|own| own["name"].to_string());
        // FlexVols that LUNs share outlive them.
        let left: Vec<String> = left.filter(|name| !name.contains("_pool_")).collect();
        let luns = array.ask("GET", "/storage/luns?name=/vol/sanity*", None)?;
        ensure!(left.is_empty() && luns["num_records"] == 0, "left on the array: {left:?}, {luns}");
        Ok(())
    })
}

/// A controller beside the cluster's own, with the same records, and the node service of the machine.
fn apart(site: &Site, sanity: &Sanity, array: &Simulator<'_>) -> Result<()> {
    let guest = site.machines[0].guest();
    // The suite needs both sockets on one machine.
    let (folder, trust) = ("/run/judged", "/etc/judged");
    for (file, content) in site.filer.issue(INSTANCE)? {
        guest.put(&format!("{trust}/{file}"), content)?;
    }
    guest.put(&format!("{trust}/backend/filer.yaml"), site.filer.backend("filer", trust))?;
    let words =
        format!("controller --node judged --config {trust}/backend --instance-id {INSTANCE} {RECORDS}");
    plugin::start(guest, folder, &words)?;
    let node = "/var/lib/kubelet/plugins/csi.leister.io/csi.sock";
    let plugin =
        Plugin { guest, what: "controller and node", node, controller: &format!("{folder}/csi.sock") };
    let leister = |words: &str| -> Result<String> {
        Ok(format!("{} {words} --server unix://{folder}/rest.sock", program()?.display()))
    };
    for access in ["mount", "block"] {
        plugin.judge(sanity, "filer", access, 16 << 20)?;
    }
    for (number, (driver, access, size)) in DRIVERS.into_iter().enumerate() {
        let (name, file) = (format!("apart-{driver}"), format!("/etc/{driver}.yaml"));
        guest.put(
            &file,
            array.backend(driver, &name, &format!("storagePrefix: sanity_a{number}_\n{DEFAULTS}")),
        )?;
        guest
            .exec_within(Limit::from_secs(120), &leister(&format!("create backend -f {file}"))?)
            .ok("a backend");
        plugin.judge(sanity, &name, access, size)?;
        guest
            .exec_within(Limit::from_secs(120), &leister(&format!("delete backend {name} --yes"))?)
            .ok("no backend");
    }
    plugin::stop(guest, folder);
    Ok(())
}

/// `leister csi`, which has its records to itself.
fn alone(site: &Site, sanity: &Sanity, array: &Simulator<'_>) -> Result<()> {
    let guest = site.machines[1].guest();
    let folder = "/run/alone";
    for (number, (driver, ..)) in DRIVERS.iter().enumerate() {
        let backend = array.backend(driver, driver, &format!("storagePrefix: sanity_b{number}_\n{DEFAULTS}"));
        guest.put(&format!("/etc/alone/{driver}.yaml"), backend)?;
    }
    plugin::start(guest, folder, "csi --node alone --config /etc/alone")?;
    let socket = format!("{folder}/csi.sock");
    let plugin = Plugin { guest, what: "alone", node: &socket, controller: &socket };
    for (driver, access, size) in DRIVERS {
        plugin.judge(sanity, driver, access, size)?;
    }
    plugin::stop(guest, folder);
    Ok(())
}
