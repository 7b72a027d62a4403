//! A fault: what is done, how it is undone, and what must come of it.

mod list;

use std::fmt;

pub use list::faults;
use rig::Backend;
use serde::Serialize;

/// How a volume is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// NFSv4.2, mounted `hard`
    NfsHard,
    /// NFSv3, mounted `soft,timeo=10,retrans=1`
    NfsSoft,
    /// ext4 on a unit that is reached by two portals
    Iscsi,
    /// ext4 on a namespace that is reached by two ports
    Nvme,
    /// A FlexVol of a simulated array, mounted over NFSv4.2, `hard`
    OntapNas,
    /// ext4 on a LUN of a simulated array, which an interface of each of its two controllers leads to
    OntapSan,
}

/// What serves volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Storage {
    /// `leister filer run`
    Filer,
    /// `leister sim ontap --data`
    Array,
}

/// One of the two machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    Storage,
    Node,
}

/// One step of a fault, or of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing passes on this link of the storage.
    Cut(u8),
    Join(u8),
    /// Power off.
    Kill(Machine),
    /// Power on, and all that an init would start.
    Start(Machine),
    Freeze(Machine),
    Thaw(Machine),
    /// A script, as root.
    Run(Machine, &'static str),
    /// As `kill -9` does.
    KillLeister,
    StartLeister,
    KillService,
    StartService,
    /// The array's second controller serves for the first one, until it gives back.
    TakeOver,
    GiveBack,
    StartEngine,
    /// Ends everything in order, then powers off.
    ShutDownNode,
    /// The application ends, its volume is detached and attached, and it goes on.
    RestartApplication,
}

/// How long the fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Seconds.
    Seconds(u64),
    /// Until the application has had an error.
    UntilError,
    /// Until the application has written some more.
    UntilWritten,
    /// Until this script succeeds on the machine.
    Until(Machine, &'static str),
}

/// What the application must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// No error; it may wait.
    NoError,
    /// An error, so many seconds after it asked.
    Error { from: u64, to: u64 },
    /// Its own end.
    Death,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub sees: Sees,
    /// From the end of the fault, or from its beginning where nobody ends it; in seconds.
    pub recovers_within: u64,
}

/// A fault on one wire.
#[derive(Debug, Clone)]
pub struct Fault {
    pub name: &'static str,
    pub wire: Wire,
    pub plan: Result<Plan, &'static str>,
    /// Whether `make test` runs it.
    pub quick: bool,
}

/// What is to be done, where it can be.
#[derive(Debug, Clone)]
pub struct Plan {
    pub begin: Vec<Act>,
    pub lasts: Lasts,
    pub end: Vec<Act>,
    pub expected: Expected,
    /// Whose kernel the two machines have.
    pub kernel: Backend,
    /// Whether the application is a container of the node's engine.
    pub contained: bool,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NfsHard => "NFS hard",
            Self::NfsSoft => "NFS soft",
            Self::Iscsi => "iSCSI",
            Self::Nvme => "NVMe/TCP",
            Self::OntapNas => "ontap-nas",
            Self::OntapSan => "ontap-san",
        })
    }
}

impl Wire {
    #[must_use]
    pub fn storage(self) -> Storage {
        match self {
            Self::NfsHard | Self::NfsSoft | Self::Iscsi | Self::Nvme => Storage::Filer,
            Self::OntapNas | Self::OntapSan => Storage::Array,
        }
    }
}
