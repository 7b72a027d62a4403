//! The two machines of a trial.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use filer_suite::{Filer, FilerSpec, Node, NodeSpec, Simulator};
use rig::{Backend, Guest, Limit, Output, Rig, Size};

use crate::fault::{Machine, Storage, Wire};
use crate::served::Served;

/// Generous: the machine may be slow and loaded.
pub(crate) const LIMIT: Limit = Limit::from_secs(120);

/// The soft mount's answer is due after `timeo` × 2 and what the transport adds.
const CLASSES: &str = "\
name: nfs-hard\nmountOptions: [hard, vers=4.2]\n---\n\
name: nfs-soft\nmountOptions: [soft, timeo=10, retrans=1, vers=3, nolock]\n";

/// Without a path what is to be written waits, as on a hard mount; the usual setting makes it fail.
const MULTIPATH: &str = "defaults {\\n find_multipaths strict\\n recheck_wwid yes\\n polling_interval 2\\n no_path_retry queue\\n}\\n";

/// An engine whose containers outlive it. Run again, it is the same engine.
const ENGINE: &str = include_str!("stage/engine.sh");

/// Where the node keeps the certificate of the tenant whose volumes are namespaces.
const SPACES: &str = "/etc/leister/spaces";

/// A storage and a node on one rig.
pub(crate) struct Stage<'a> {
    rig: &'a Rig,
    pub(crate) served: Served<'a>,
    pub(crate) node: Node<'a>,
    writer: PathBuf,
}

impl<'a> Stage<'a> {
    /// What a rig for a stage is made of.
    pub(crate) fn rig(kernel: Backend) -> rig::Builder {
        Rig::builder()
            .backend(kernel)
            .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(1)).disk(Size::mib(128)))
            .guest("node1", |g| g.memory(Size::mib(640)).disk(Size::mib(128)))
    }

    /// Makes the storage serve and the node use it; `writer` is the program of that name.
    ///
    /// # Errors
    /// When a guest is down, or the programs are not there.
    ///
    /// # Panics
    /// When something in a guest fails; the message has what it said.
    pub(crate) fn up(rig: &'a Rig, storage: Storage, writer: &Path) -> Result<Self> {
        let stock = rig.backend() == Backend::Tcg;
        let (wires, volumes): (_, &[Wire]) = match (storage, stock) {
            (Storage::Filer, false) => ("nfs,iscsi", &[Wire::NfsHard, Wire::NfsSoft, Wire::Iscsi]),
            (Storage::Filer, true) => ("nfs,iscsi,nvme", &[Wire::Iscsi, Wire::Nvme]),
            (Storage::Array, _) => ("nfs,iscsi", &[Wire::OntapNas, Wire::OntapSan]),
        };
        let served = match storage {
            Storage::Filer => {
                let spec = FilerSpec { wires: wires.to_owned(), ..FilerSpec::default() };
                Served::Filer(Filer::up(rig, "storage", spec)?)
            }
            Storage::Array => Served::Array(Simulator::up(rig, "storage", wires)?),
        };
        let node = node(rig, &served)?;
        for wire in volumes {
            node.create(volume(*wire), &[&[("size", "96MiB")][..], kind(*wire)].concat());
        }
        Ok(Self { rig, served, node, writer: writer.to_path_buf() })
    }

    pub(crate) fn guest(&self, machine: Machine) -> &'a Guest {
        self.rig.guest(match machine {
            Machine::Storage => "storage",
            Machine::Node => "node1",
        })
    }

    pub(crate) fn exec(&self, machine: Machine, script: &str) -> Output {
        self.guest(machine).exec_within(LIMIT, script)
    }

    /// Powers a machine on, with all that an init would start there.
    pub(crate) fn start(&mut self, machine: Machine) -> Result<()> {
        self.guest(machine).start()?;
        match machine {
            Machine::Storage => {
                self.served.prepare()?;
                self.served.start()
            }
            Machine::Node => {
                self.node = node(self.rig, &self.served)?;
                Ok(())
            }
        }
    }

    /// The words that start the writer in the node.
    pub(crate) fn writer(&self, verb: &str, file: &str, account: &str) -> String {
        format!("echo $BASHPID >/run/writer.pid; exec {} {verb} {file} /rig/{account}", self.writer.display())
    }

    /// The words that start the writer in a container, whose first process it is.
    pub(crate) fn container(&self, volume: &str, account: &str) -> String {
        let program = self.writer.display();
        format!(
            "docker run -d --name application --network none -v {volume}:/data -v /rig:/rig -v {program}:{program}:ro \
             -v /usr/lib:/usr/lib:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro busybox \
             {program} write /data/records /rig/{account}"
        )
    }

    pub(crate) fn start_engine(&self) -> Result<()> {
        let started = self.exec(Machine::Node, ENGINE);
        ensure!(started.is_ok(), "no engine: {}{}", started.stdout, started.stderr);
        Ok(())
    }

    pub(crate) fn account(&self, name: &str) -> PathBuf {
        self.guest(Machine::Node).share().join(name)
    }
}

/// The volume of a wire.
pub(crate) fn volume(wire: Wire) -> &'static str {
    match wire {
        Wire::NfsHard => "hard",
        Wire::NfsSoft => "soft",
        Wire::Iscsi => "unit",
        Wire::Nvme => "namespace",
        Wire::OntapNas => "flexvol",
        Wire::OntapSan => "lun",
    }
}

/// What makes it one of its wire.
fn kind(wire: Wire) -> &'static [(&'static str, &'static str)] {
    match wire {
        Wire::NfsHard => &[("class", "nfs-hard")],
        Wire::NfsSoft => &[("class", "nfs-soft")],
        Wire::Iscsi => &[("fstype", "ext4"), ("sanType", "iscsi")],
        Wire::Nvme => &[("fstype", "ext4"), ("sanType", "nvme")],
        Wire::OntapNas => &[("backend", "nas")],
        Wire::OntapSan => &[("backend", "san"), ("fstype", "ext4")],
    }
}

/// Records outlive the power of a node, as on any machine.
fn node<'a>(rig: &'a Rig, served: &Served<'_>) -> Result<Node<'a>> {
    let guest = rig.guest("node1");
    let disk = "disk=/dev/ubda; [ -b $disk ] || disk=/dev/vda
        blkid $disk >/dev/null || mkfs.ext4 -q $disk
        mkdir -p /var/lib/leister && mount $disk /var/lib/leister";
    guest.exec_within(LIMIT, disk).ok("a disk for records");
    let mut spec = NodeSpec::new("faults");
    // What each tool took stands in the log that is kept of a failure.
    "--log-level info,host=debug".clone_into(&mut spec.arguments);
    let node = match served {
        Served::Filer(filer) => over_filer(rig, guest, filer, spec)?,
        Served::Array(array) => {
            // Files by link 1 alone, blocks by both; management by link 0.
            let files = format!("dataLIF: {}\nnfsMountOptions: hard,vers=4.2\n", array.data_address(1));
            let backends = [("nas", "ontap-nas", files.as_str()), ("san", "ontap-san", "")];
            let backends =
                backends.map(|(name, driver, more)| (name.to_owned(), array.backend(driver, name, more)));
            Node::over(rig, "node1", spec, &backends)?
        }
    };
    let queue = format!("printf '{MULTIPATH}' >/etc/multipath.conf && multipathd reconfigure");
    guest.exec_within(LIMIT, &queue).ok("multipath waits");
    Ok(node)
}

fn over_filer<'a>(rig: &'a Rig, guest: &Guest, filer: &Filer<'_>, mut spec: NodeSpec) -> Result<Node<'a>> {
    guest.put("/etc/leister/backends/classes.yaml", CLASSES).context("classes")?;
    let storage = filer.guest();
    // Files by link 1 alone, blocks by both; management by link 0.
    spec.backend = format!("dataAddresses: [{}, {}]\n", storage.address(1), storage.address(0));
    if rig.backend() == Backend::Tcg {
        for (file, content) in filer.issue("spaces")? {
            guest.put(&format!("{SPACES}/{file}"), content)?;
        }
        let spaces = format!("{}protocol: nvme\n{}", filer.backend("spaces", SPACES), spec.backend);
        guest.put("/etc/leister/backends/spaces.yaml", spaces)?;
    }
    Node::up(rig, "node1", filer, spec)
}
