//! Namespaces over NVMe/TCP, which user-mode Linux lacks: machines in software, slow ones.

use std::sync::{LazyLock, Mutex, PoisonError};

use filer_suite::plugin::{self, Plugin};
use go_suite::Sanity;
use rig::{Backend, Rig};
use site::{ArraySite, Site};

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
fn csi_sanity_passes_over_namespaces() {
    on_site(|site| {
        let sanity = Sanity::get().unwrap();
        let (guest, folder) = (site.hosts[1].guest(), "/run/alone");
        let more = format!("sanType: nvme\nstoragePrefix: sanity_\n{DEFAULTS}");
        guest.put("/etc/alone/spaces.yaml", site.array.backend("ontap-san", "spaces", &more)).unwrap();
        plugin::start(guest, folder, "csi --node alone --config /etc/alone").unwrap();
        let socket = format!("{folder}/csi.sock");
        let judged = Plugin { guest, what: "alone", node: &socket, controller: &socket };
        judged.judge(&sanity, "spaces", "block", 32 << 20).unwrap();
        plugin::stop(guest, folder);
        assert_eq!(on_array(site, "/storage/volumes", "sanity"), [""; 0], "left on the array");
    });
}
