//! Namespaces over NVMe/TCP, which user-mode Linux lacks: machines in software, slow ones.

use std::sync::{LazyLock, Mutex, PoisonError};

use filer_suite::plugin::{self, Plugin};
use go_suite::Sanity;
use rig::{Backend, Rig};
use site::{ArraySite, Members, Site};

use crate::blocks::lives;
use crate::files::end;
use crate::{DEFAULTS, on_array};

static RIG: LazyLock<Rig> = LazyLock::new(|| ArraySite::boot(Backend::Tcg).unwrap());
static SITE: LazyLock<ArraySite> = LazyLock::new(|| {
    let more = format!("sanType: nvme\n{DEFAULTS}");
    ArraySite::up(&RIG, "nvme", &[("nvme", "ontap-san", &more)]).unwrap()
});
static TURN: Mutex<()> = Mutex::new(());

fn on_site(test: impl FnOnce(&ArraySite)) {
    if let Some(reason) = Site::lacking().or_else(|| Rig::available(Backend::Tcg).err()) {
        println!("skipped: {reason}");
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = RIG.watch();
    test(&SITE);
}

#[test]
fn a_namespace_does_the_same_as_a_lun() {
    on_site(|site| {
        lives(site, "nvme", "space", "[ $(grep -l live /sys/class/nvme/nvme*/state | wc -l) = 2 ]");
        end(site, "space", "/storage/volumes");
    });
}

#[test]
fn csi_sanity_passes_over_namespaces_by_a_controller_and_a_node_and_by_one_process() {
    on_site(|site| {
        let sanity = Sanity::get().unwrap();
        let guest = site.hosts[1].guest();
        let offer = |what: &str| {
            let more = format!("sanType: nvme\nstoragePrefix: sanity_{what}_\n{DEFAULTS}");
            let backend = site.array.backend("ontap-san", what, &more);
            guest.put(&format!("/etc/{what}/spaces.yaml"), backend).unwrap();
        };
        offer("alone");
        plugin::start(guest, "/run/alone", "csi --node alone --config /etc/alone").unwrap();
        let socket = "/run/alone/csi.sock";
        let alone = Plugin { guest, what: "alone", node: socket, controller: socket };
        alone.judge(&sanity, "alone", "block", 32 << 20).unwrap();
        plugin::stop(guest, "/run/alone");

        offer("apart");
        let members = Members::up(&RIG).unwrap();
        let records = format!("--store etcd --etcd-endpoints {} --instance-id apart", members.endpoints(0));
        let controller = format!("controller --node controller --config /etc/apart {records}");
        plugin::start(guest, "/run/controller", &controller).unwrap();
        plugin::start(guest, "/run/node", &format!("node --node apart {records}")).unwrap();
        let apart = Plugin {
            guest,
            what: "controller and node",
            node: "/run/node/csi.sock",
            controller: "/run/controller/csi.sock",
        };
        apart.judge(&sanity, "apart", "block", 32 << 20).unwrap();
        plugin::stop(guest, "/run/node");
        plugin::stop(guest, "/run/controller");
        assert_eq!(on_array(site, "/storage/volumes", "sanity"), [""; 0], "left on the array");
    });
}
