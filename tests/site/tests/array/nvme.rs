//! Namespaces over NVMe/TCP, which user-mode Linux lacks: machines in software, slow ones.

use std::sync::LazyLock;

use rig::{Backend, Rig};
use site::{ArraySite, Site};

use crate::DEFAULTS;
use crate::blocks::lives;
use crate::files::end;

static RIG: LazyLock<Rig> = LazyLock::new(|| ArraySite::boot(Backend::Tcg).unwrap());

#[test]
fn a_namespace_does_the_same_as_a_lun() {
    if let Some(reason) = Site::lacking().or_else(|| Rig::available(Backend::Tcg).err()) {
        println!("skipped: {reason}");
        return;
    }
    let _watch = RIG.watch();
    let more = format!("sanType: nvme\n{DEFAULTS}");
    let site = ArraySite::up(&RIG, "nvme", &[("nvme", "ontap-san", &more)]).unwrap();
    lives(&site, "nvme", "space", "[ $(grep -l live /sys/class/nvme/nvme*/state | wc -l) = 2 ]");
    end(&site, "space", "/storage/volumes");
}
