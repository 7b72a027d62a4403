//! The fleet that all tests share, in turn, with a machine more that is an array.

use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use filer_suite::Simulator;
use kube_suite::{Fleet, on_shared_fleet};
use rig::Size;

pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// The guest where an array is simulated.
const ARRAY: &str = "array";
/// An XFS tells who mounts a volume the volume's size, as an array does.
const DISK: &str = "modprobe xfs; mkfs.xfs -q -K -l size=64m /dev/ubda && mkdir -p /srv/pool &&
    mount -o prjquota /dev/ubda /srv/pool";

pub(crate) struct Site {
    fleet: &'static Fleet<'static>,
    array: OnceLock<Simulator<'static>>,
}

static SITE: OnceLock<Site> = OnceLock::new();

impl Deref for Site {
    type Target = Fleet<'static>;

    fn deref(&self) -> &Fleet<'static> {
        self.fleet
    }
}

/// Gives a test its turn on the site, if this machine can have one.
pub(crate) fn on_site(test: impl FnOnce(&'static Site) -> Result<()>) -> Result<()> {
    // Its first disk holds little, and is as large as an array's.
    let array = |g: rig::GuestSpec| g.memory(Size::mib(512)).disk(Size::gib(1024)).disk(Size::mib(128));
    on_shared_fleet(
        || Fleet::rig().guest(ARRAY, array).up(),
        |fleet| test(SITE.get_or_init(|| Site { fleet, array: OnceLock::new() })),
    )
}

impl Site {
    /// A simulated array with data, for who has the turn; started when it is first asked for.
    pub(crate) fn array(&self) -> Result<&Simulator<'static>> {
        if self.array.get().is_none() {
            self.guests().guest(ARRAY).exec(DISK).ok("a disk for the array");
            let array = Simulator::up(self.guests(), ARRAY, "nfs,iscsi")?;
            self.array.get_or_init(|| array);
        }
        self.array.get().context("it is there")
    }
}
