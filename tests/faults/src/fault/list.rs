//! The faults of the case study, and some more.

use super::Act::{
    Cut, Freeze, GiveBack, Join, Kill, KillLeister, KillService, RestartApplication, Run, ShutDownNode,
    Start, StartEngine, StartLeister, StartService, TakeOver, Thaw,
};
use super::Lasts::{Seconds, Until, UntilError, UntilWritten};
use super::Machine::{Node, Storage};
use super::Sees::{Death, Error, NoError};
use rig::Backend;

use super::{Act, Expected, Fault, Lasts, Plan, Sees, Wire};

const WIRES: [Wire; 6] =
    [Wire::NfsHard, Wire::NfsSoft, Wire::Iscsi, Wire::Nvme, Wire::OntapNas, Wire::OntapSan];

/// Of a loaded machine of two slow cores; a guest boots in some seconds.
const SOON: u64 = 60;
const AFTER_BOOT: u64 = 180;

/// When the soft mount gives up: `timeo=10,retrans=1` is 1 s and then 2 s, and the transport's own time to connect again.
const SOFT: Sees = Error { from: 2, to: 60 };

const ONE_ADDRESS: &str = "an NFS mount has one address: its fail-over is the row of the whole storage";
const NOT_THIS_WIRE: &str = "this wire does not use it";
const NOT_SIMULATED: &str = "the simulated array has no such thing";

struct Kind {
    name: &'static str,
    /// On which wires `make test` runs it.
    quick: &'static [Wire],
    plan: fn(Wire) -> Result<Plan, &'static str>,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "node crash",
        quick: &[],
        plan: |_| plan([Kill(Node)], Seconds(0), [Start(Node), RestartApplication], Death, AFTER_BOOT),
    },
    Kind {
        name: "node shutdown",
        quick: &[],
        plan: |_| plan([ShutDownNode], Seconds(0), [Start(Node), RestartApplication], Death, AFTER_BOOT),
    },
    Kind {
        name: "one path gone",
        quick: &[],
        plan: |wire| match wire {
            Wire::NfsHard | Wire::NfsSoft | Wire::OntapNas => Err(ONE_ADDRESS),
            Wire::Iscsi | Wire::Nvme | Wire::OntapSan => {
                plan([Cut(1)], UntilWritten, [Join(1)], NoError, SOON)
            }
        },
    },
    Kind {
        name: "controller fail-over (ALUA, ANA)",
        quick: &[Wire::OntapNas, Wire::OntapSan],
        plan: |wire| match wire {
            Wire::NfsHard | Wire::NfsSoft => Err(ONE_ADDRESS),
            Wire::Iscsi => on_stock_kernel(plan(
                [Run(Storage, ALUA_STANDBY)],
                Until(Node, ALUA_SEEN_STANDBY),
                [Run(Storage, ALUA_OPTIMIZED)],
                NoError,
                SOON,
            )),
            Wire::Nvme => plan(
                [Run(Storage, ANA_INACCESSIBLE)],
                Until(Node, "grep -q inaccessible /sys/class/nvme/nvme*/nvme*n1/ana_state"),
                [Run(Storage, ANA_OPTIMIZED)],
                NoError,
                SOON,
            ),
            Wire::OntapNas => plan([TakeOver], UntilWritten, [GiveBack], NoError, SOON),
            Wire::OntapSan => plan([TakeOver], Until(Node, ONE_PATH), [GiveBack], NoError, SOON),
        },
    },
    Kind {
        name: "path not preferred any more (ALUA, ANA)",
        quick: &[],
        plan: |wire| match wire {
            Wire::NfsHard | Wire::NfsSoft => Err(ONE_ADDRESS),
            Wire::Iscsi => on_stock_kernel(plan(
                [Run(Storage, ALUA_NON_OPTIMIZED)],
                Until(Node, ALUA_SEEN_NON_OPTIMIZED),
                [Run(Storage, ALUA_OPTIMIZED)],
                NoError,
                SOON,
            )),
            Wire::Nvme => plan(
                [Run(Storage, ANA_NON_OPTIMIZED)],
                Until(Node, "grep -q non-optimized /sys/class/nvme/nvme*/nvme*n1/ana_state"),
                [Run(Storage, ANA_OPTIMIZED)],
                NoError,
                SOON,
            ),
            Wire::OntapNas | Wire::OntapSan => Err(NOT_SIMULATED),
        },
    },
    Kind {
        name: "whole storage down and back",
        quick: &[Wire::Iscsi, Wire::OntapSan],
        plan: |wire| match wire {
            Wire::NfsSoft => plan([Kill(Storage)], UntilError, [Start(Storage)], SOFT, AFTER_BOOT),
            _ => plan([Kill(Storage)], Seconds(5), [Start(Storage)], NoError, AFTER_BOOT),
        },
    },
    Kind {
        name: "whole storage frozen for 10 s",
        quick: &[],
        plan: |wire| match wire {
            Wire::NfsSoft => plan([Freeze(Storage)], UntilError, [Thaw(Storage)], SOFT, SOON),
            _ => plan([Freeze(Storage)], Seconds(10), [Thaw(Storage)], NoError, SOON),
        },
    },
    Kind {
        name: "management network cut for 20 s",
        quick: &[],
        plan: |_| plan([Run(Storage, NO_MANAGEMENT)], Seconds(20), [Run(Storage, MANAGEMENT)], NoError, SOON),
    },
    Kind {
        name: "data network cut",
        quick: &[Wire::NfsSoft],
        plan: |wire| match wire {
            Wire::NfsHard | Wire::OntapNas => plan([Cut(1)], Seconds(10), [Join(1)], NoError, SOON),
            Wire::NfsSoft => plan([Cut(1)], UntilError, [Join(1)], SOFT, SOON),
            _ => plan([Cut(0), Cut(1)], Seconds(10), [Join(0), Join(1)], NoError, SOON),
        },
    },
    Kind {
        name: "data network cut, multipath told not to wait",
        quick: &[],
        plan: |wire| match wire {
            Wire::Iscsi | Wire::OntapSan => plan(
                [Run(Node, "multipathd disablequeueing maps"), Cut(0), Cut(1)],
                UntilError,
                [Join(0), Join(1), Run(Node, "multipathd restorequeueing maps"), RestartApplication],
                Error { from: 1, to: SOON },
                SOON,
            ),
            _ => Err(NOT_THIS_WIRE),
        },
    },
    Kind {
        name: "leister killed",
        quick: &[Wire::NfsHard],
        plan: |_| plan([KillLeister], UntilWritten, [StartLeister], NoError, SOON),
    },
    Kind {
        name: "the storage's service killed",
        quick: &[],
        plan: |_| plan([KillService], UntilWritten, [StartService], NoError, SOON),
    },
    Kind {
        name: "dockerd killed",
        quick: &[],
        plan: |_| {
            let kill = Run(Node, "kill -9 $(cat /run/engine.pid)");
            contained(plan([kill], UntilWritten, [StartEngine], NoError, SOON))
        },
    },
    Kind {
        name: "containerd killed",
        quick: &[],
        // The engine starts it again.
        plan: |_| {
            let kill = Run(Node, "pid=$(pidof containerd) && kill -9 $pid && echo $pid >/run/killed");
            let back = Until(Node, "pid=$(pidof containerd) && [ $pid != $(cat /run/killed) ] && docker ps");
            contained(plan([kill], back, [], NoError, SOON))
        },
    },
    Kind {
        name: "multipathd killed",
        quick: &[],
        plan: |wire| match wire {
            Wire::Iscsi | Wire::OntapSan => plan(
                [Run(Node, "kill -9 $(pidof multipathd)")],
                UntilWritten,
                [Run(Node, "multipathd")],
                NoError,
                SOON,
            ),
            _ => Err(NOT_THIS_WIRE),
        },
    },
    Kind {
        name: "iscsid killed",
        quick: &[],
        plan: |wire| match wire {
            Wire::Iscsi | Wire::OntapSan => plan(
                [Run(Node, "kill -9 $(pidof iscsid)")],
                UntilWritten,
                [Run(Node, "iscsid")],
                NoError,
                SOON,
            ),
            _ => Err(NOT_THIS_WIRE),
        },
    },
    Kind {
        name: "nfsd stopped",
        quick: &[],
        // Nobody starts it again but the storage's service.
        plan: |wire| match wire {
            Wire::NfsHard => plan([Run(Storage, NO_NFSD)], Until(Storage, NFSD), [], NoError, SOON),
            Wire::NfsSoft => plan([Run(Storage, NO_NFSD)], UntilError, [], SOFT, SOON),
            Wire::OntapNas => Err(NOT_SIMULATED),
            _ => Err(NOT_THIS_WIRE),
        },
    },
    Kind {
        name: "disk of the storage full",
        quick: &[],
        plan: |wire| match wire {
            Wire::NfsHard | Wire::NfsSoft | Wire::OntapNas => plan(
                [Run(Storage, FILL)],
                UntilError,
                [Run(Storage, CLEAR)],
                Error { from: 0, to: SOON },
                SOON,
            ),
            // The kernel's target says that the unit does not answer: a path is lost, and multipath waits for it.
            Wire::Iscsi | Wire::OntapSan => {
                plan([Run(Storage, FILL)], Seconds(30), [Run(Storage, CLEAR)], NoError, SOON)
            }
            Wire::Nvme => plan(
                [Run(Storage, FILL)],
                UntilError,
                [Run(Storage, CLEAR), RestartApplication],
                Error { from: 0, to: SOON },
                SOON,
            ),
        },
    },
    Kind {
        name: "volume full",
        quick: &[Wire::NfsHard],
        plan: |_| {
            plan(
                [Run(Node, "dd if=/dev/zero of=$point/fill bs=1M conv=fsync; true")],
                UntilError,
                [Run(Node, "rm $point/fill")],
                Error { from: 0, to: SOON },
                SOON,
            )
        },
    },
    Kind {
        name: "memory of the node full",
        quick: &[],
        plan: |_| plan([Run(Node, EAT)], UntilWritten, [], NoError, SOON),
    },
    Kind {
        name: "memory of the storage full",
        quick: &[],
        plan: |_| plan([Run(Storage, EAT)], UntilWritten, [], NoError, SOON),
    },
    Kind {
        name: "disk load on the storage",
        quick: &[],
        plan: |_| plan([Run(Storage, DISK_LOAD)], UntilWritten, [Run(Storage, NO_LOAD)], NoError, SOON),
    },
    Kind {
        name: "CPU load on the node",
        quick: &[],
        plan: |_| plan([Run(Node, CPU_LOAD)], UntilWritten, [Run(Node, NO_LOAD)], NoError, SOON),
    },
    Kind {
        name: "CPU load on the storage",
        quick: &[],
        plan: |_| plan([Run(Storage, CPU_LOAD)], UntilWritten, [Run(Storage, NO_LOAD)], NoError, SOON),
    },
];

/// All ways to a unit are one group, and each unit has its own.
const ALUA_STANDBY: &str =
    "for state in /sys/kernel/config/target/core/fileio_*/*/alua/*/alua_access_state; do
    echo 2 >$state; done";
const ALUA_NON_OPTIMIZED: &str = "for state in /sys/kernel/config/target/core/fileio_*/*/alua/*/alua_access_state; do echo 1 >$state; done";
const ALUA_OPTIMIZED: &str = "for state in /sys/kernel/config/target/core/fileio_*/*/alua/*/alua_access_state; do echo 0 >$state; done";

const ALUA_SEEN_STANDBY: &str = "grep -q standby /sys/block/sd*/device/access_state";
/// It stays so, although a node's multipath looks at its ways every 2 s.
const ALUA_SEEN_NON_OPTIMIZED: &str = "seen() { grep . /sys/block/sd*/device/access_state >&2 &&
        ! grep -vq non-optimized /sys/block/sd*/device/access_state; }
    seen && sleep 10 && seen";

/// Of the first of two ports.
const ANA_INACCESSIBLE: &str =
    "cd /sys/kernel/config/nvmet/ports && set -- * && echo inaccessible >$1/ana_groups/1/ana_state";
const ANA_NON_OPTIMIZED: &str =
    "cd /sys/kernel/config/nvmet/ports && set -- * && echo non-optimized >$1/ana_groups/1/ana_state";
const ANA_OPTIMIZED: &str =
    "cd /sys/kernel/config/nvmet/ports && set -- * && echo optimized >$1/ana_groups/1/ana_state";

/// That of the array, and that of the filer.
const NO_MANAGEMENT: &str = "iptables-legacy -A INPUT -p tcp --dport 8443:8444 -j DROP";
const MANAGEMENT: &str = "iptables-legacy -D INPUT -p tcp --dport 8443:8444 -j DROP";

const ONE_PATH: &str = "[ $(multipath -ll | grep -c 'active ready') = 1 ]";

const NO_NFSD: &str = "rpc.nfsd 0";
const NFSD: &str = "read -r threads </proc/fs/nfsd/threads; [ $threads != 0 ]";

/// Leaves nothing free, in ever smaller pieces.
const FILL: &str = "mkdir -p /srv/pool/fill; n=0
    for size in 256M 64M 16M 4M 1M 256K 64K 16K 4K; do
        while fallocate -l $size /srv/pool/fill/$n 2>/dev/null; do n=$((n + 1)); done
    done; sync -f /srv/pool";
const CLEAR: &str = "rm -r /srv/pool/fill; sync -f /srv/pool";

/// Takes memory until the kernel kills it for that.
const EAT: &str = "tail /dev/zero; [ $? = 137 ]";

const CPU_LOAD: &str = "for i in 1 2 3 4; do
        setsid sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 & echo $! >>/run/load
    done";
const DISK_LOAD: &str = "for i in 1 2 3; do
        of=/srv/pool/load-$i setsid sh -c 'while :; do
            dd if=/dev/zero of=$of bs=1M count=32 conv=fsync,notrunc; done' </dev/null >/dev/null 2>&1 &
        echo $! >>/run/load
    done";
const NO_LOAD: &str =
    "while read -r pid; do kill -KILL -- -$pid; done </run/load; rm -f /run/load /srv/pool/load-*";

/// Every fault on every wire, also those that cannot be tried here.
#[must_use]
pub fn faults() -> Vec<Fault> {
    let on_wire = |kind: &Kind, wire| {
        let plan = (kind.plan)(wire);
        // User-mode Linux has no NVMe.
        let plan = if wire == Wire::Nvme { on_stock_kernel(plan) } else { plan };
        Fault { name: kind.name, wire, plan, quick: kind.quick.contains(&wire) }
    };
    KINDS.iter().flat_map(|kind| WIRES.map(|wire| on_wire(kind, wire))).collect()
}

fn plan<const B: usize, const E: usize>(
    begin: [Act; B],
    lasts: Lasts,
    end: [Act; E],
    sees: Sees,
    recovers_within: u64,
) -> Result<Plan, &'static str> {
    let expected = Expected { sees, recovers_within };
    let (begin, end) = (begin.to_vec(), end.to_vec());
    Ok(Plan { begin, lasts, end, expected, kernel: Backend::Uml, contained: false })
}

fn on_stock_kernel(plan: Result<Plan, &'static str>) -> Result<Plan, &'static str> {
    plan.map(|plan| Plan { kernel: Backend::Tcg, ..plan })
}

fn contained(plan: Result<Plan, &'static str>) -> Result<Plan, &'static str> {
    plan.map(|plan| Plan { contained: true, ..plan })
}
