//! The machines and the cluster on them, which all tests share, in turn.

use std::ops::Deref;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use filer_suite::Simulator;
use kube_suite::{FILES, Fleet, Stage, pod};
use rig::{Rig, Size};

pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// The guest where an array is simulated.
const ARRAY: &str = "array";
/// An XFS tells who mounts a volume the volume's size, as an array does.
const DISK: &str = "modprobe xfs; mkfs.xfs -q -K -l size=64m /dev/ubda && mkdir -p /srv/pool &&
    mount -o prjquota /dev/ubda /srv/pool";

pub(crate) struct Site {
    fleet: Fleet<'static>,
    array: OnceLock<Simulator<'static>>,
    turn: Mutex<()>,
}

/// The rig outlives the cluster that is on its networks.
static RIG: LazyLock<Result<Rig, String>> = LazyLock::new(|| {
    // Its first disk holds little, and is as large as an array's.
    let array = |g: rig::GuestSpec| g.memory(Size::mib(512)).disk(Size::gib(1024)).disk(Size::mib(128));
    Fleet::rig().guest(ARRAY, array).up().map_err(|error| format!("{error:#}"))
});
static SITE: LazyLock<Result<Site, String>> =
    LazyLock::new(|| Site::start().map_err(|error| format!("{error:#}")));

impl Deref for Site {
    type Target = Fleet<'static>;

    fn deref(&self) -> &Fleet<'static> {
        &self.fleet
    }
}

impl Site {
    pub(crate) fn shared() -> Result<&'static Site> {
        SITE.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn start() -> Result<Self> {
        let started = Instant::now();
        let rig = RIG.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        let _watch = rig.watch();
        let fleet = Fleet::start(rig)?;
        println!("cluster and machines up in {:.1?}", started.elapsed());
        Ok(Self { fleet, array: OnceLock::new(), turn: Mutex::new(()) })
    }

    /// A simulated array with data, for who has the turn; started when it is first asked for.
    pub(crate) fn array(&self) -> Result<&Simulator<'static>> {
        if self.array.get().is_none() {
            self.guests().guest(ARRAY).exec(DISK).ok("a disk for the array");
            let array = Simulator::up(self.guests(), ARRAY, "nfs,iscsi")?;
            self.array.get_or_init(|| array);
        }
        self.array.get().context("it is there")
    }

    /// Scenes begin on the first node and go on on the second one.
    pub(crate) fn stage(&self) -> Stage<'_> {
        Stage { cluster: &self.cluster, nodes: ["node1", "node2"] }
    }

    /// The machines are few: one test after the other.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod on a node that runs a script and then stays, with a claim at `/data`.
    pub(crate) fn pod(&self, name: &str, node: &str, claim: &str, script: &str) -> Result<()> {
        let there = format!("nodeSelector: {{kubernetes.io/hostname: {node}}}");
        self.cluster.apply(&pod(name, claim, script, FILES, &[&there]))
    }
}

/// Leaves the test with a line `skipped: <reason>` where the machine lacks what it needs.
macro_rules! needs_the_machines {
    () => {
        let lacking = kube_suite::lacking().or_else(|| rig::Rig::available(rig::Backend::Uml).err());
        if let Some(reason) = lacking {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
}
pub(crate) use needs_the_machines;
