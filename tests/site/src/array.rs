use std::sync::OnceLock;

use anyhow::Result;
use filer_suite::{NodeSpec, Simulator};
use rig::{Backend, Rig};

use crate::host::{Host, Storage};
use crate::site::{Site, hosts};

/// A simulated array with data behind it, and two hosts over it.
#[derive(Debug)]
pub struct ArraySite {
    pub array: Simulator<'static>,
    pub hosts: [Host<'static>; 2],
    rig: &'static Rig,
    beside: OnceLock<Host<'static>>,
}

/// The backends that both hosts have, by name: driver, and more lines of the file.
type Backends<'a> = &'a [(&'a str, &'a str, &'a str)];

impl ArraySite {
    /// # Errors
    /// When a guest does not come up.
    pub fn boot(backend: Backend) -> Result<Rig> {
        Site::boot_on(backend)
    }

    /// Starts all that runs on a rig: `wires` is as `--wires` has it.
    ///
    /// # Errors
    /// What does not start.
    pub fn up(rig: &'static Rig, wires: &str, backends: Backends<'_>) -> Result<Self> {
        let array = Simulator::up(rig, "storage", wires)?;
        let file = |(name, driver, more): &(&str, &str, &str)| {
            ((*name).to_owned(), array.backend(driver, name, more))
        };
        let files: Vec<(String, String)> = backends.iter().map(file).collect();
        let words = |_| "--shared-backends --instance-id site".to_owned();
        let hosts = hosts(rig, Storage::Backends(&files), "leister", words)?;
        Ok(Self { array, hosts, rig, beside: OnceLock::new() })
    }

    /// Another instance on the first host, `second`, with a backend of its own on the same SVM. It is started when it is
    /// first asked for.
    ///
    /// # Panics
    /// When it does not start.
    pub fn beside(&self) -> &Host<'static> {
        self.beside.get_or_init(|| {
            let more = "storagePrefix: second_\nnfsMountOptions: nfsvers=4.1,hard\n";
            let files = [("other".to_owned(), self.array.backend("ontap-nas", "other", more))];
            let spec = NodeSpec { name: "second".to_owned(), ..NodeSpec::new("second") };
            let words = "--instance-id second";
            let started = Host::up(self.rig, self.hosts[0].name(), Storage::Backends(&files), spec, words);
            started.unwrap_or_else(|error| panic!("{error:#}"))
        })
    }
}
