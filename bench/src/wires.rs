//! Leister's hands beside a person's tools: the same export, the same kind of unit, the same guests, one run.
//!
//! NVMe/TCP runs on emulated machines with Debian's kernel, the others on user-mode Linux: compare ways, not wires.

mod node;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use comfy_table::{Table, presets};
use filer_suite::{Filer, FilerSpec, Node, NodeSpec};
use model::{Bytes, NoUnit, NodeIdentity, NodeName, Permit, Route};
use rig::{Backend, Guest, Limit, Rig, Size};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spread::{Spread, median, ms};
use node::Plan;

const TENANT: &str = "bench";
const LIMIT: Limit = Limit::from_secs(30 * 60);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    #[default]
    Leister,
    ByHand,
}

/// Seconds that one way took for one thing.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Measured {
    what: String,
    way: Way,
    attach: Vec<f64>,
    detach: Vec<f64>,
    wrote: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Wire {
    Nfs,
    Iscsi,
    Nvme,
}

/// How much is measured.
#[derive(clap::Args)]
pub(crate) struct Extent {
    /// Volumes of each way, attached one at a time and all at once.
    #[arg(long, default_value_t = 32)]
    volumes: usize,
    /// Size of a volume.
    #[arg(long, default_value = "1GiB", value_parser = size)]
    size: Bytes,
    /// Measurements per way, taken in turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

fn size(text: &str) -> Result<Bytes, String> {
    Bytes::parse(text, NoUnit::Bytes).map_err(|error| error.to_string())
}

/// Attaches volumes of each way over each wire.
pub(crate) fn measure(wires: &[Wire], extent: &Extent) -> Result<()> {
    ensure!(extent.volumes > 0 && extent.rounds > 0, "nothing to measure; use 1 or more");
    let mut tables = Tables::new();
    let (nvme, others): (Vec<Wire>, Vec<Wire>) = wires.iter().partition(|wire| **wire == Wire::Nvme);
    for (kernel, wires) in [(Backend::Uml, others), (Backend::Tcg, nvme)] {
        if !wires.is_empty() {
            on_rig(kernel, &wires, extent, &mut tables)?;
        }
    }
    Ok(())
}

struct Tables {
    attaches: Table,
    writes: Table,
}

impl Tables {
    fn new() -> Self {
        let [mut attaches, mut writes] = [Table::new(), Table::new()];
        for table in [&mut attaches, &mut writes] {
            table.load_style(presets::ASCII_MARKDOWN);
        }
        attaches.set_header([
            "wire",
            "volumes",
            "attach p50",
            "p99",
            "by hand p50",
            "p99",
            "ratio p50",
            "detach p50",
            "p99",
            "by hand p50",
            "p99",
            "ratio p50",
        ]);
        writes.set_header([
            "wire",
            "200 × 4 KiB, each flushed",
            "by hand",
            "ratio",
            "16 MiB",
            "by hand",
            "ratio",
        ]);
        Self { attaches, writes }
    }
}

fn on_rig(kernel: Backend, wires: &[Wire], extent: &Extent, tables: &mut Tables) -> Result<()> {
    let Extent { volumes, size, rounds } = *extent;
    let rig = Rig::builder()
        .backend(kernel)
        .guest("storage", |g| g.memory(Size::gib(1)).disk(Size::gib(8)).disk(Size::mib(128)))
        .guest("node1", |g| g.memory(Size::mib(512)));
    let rig = rig.up()?;
    let (mut filer, mut leister) = (FilerSpec::default(), NodeSpec::new(TENANT));
    // Whose volumes the tenant's certificate may permit.
    leister.arguments = format!("--instance-id {TENANT}");
    if kernel == Backend::Tcg {
        "nvme".clone_into(&mut filer.wires);
        "protocol: nvme\n".clone_into(&mut leister.backend);
    }
    let filer = Filer::up(&rig, "storage", filer)?;
    let leister = Node::up(&rig, "node1", &filer, leister)?;
    // What is created stays; the hands are measured without the rest of Leister.
    for wire in wires {
        for at in 0..2 * volumes {
            let size_text = size.to_string();
            let mut options = vec![("size", size_text.as_str())];
            options.extend((*wire != Wire::Nfs).then_some(("fstype", "ext4")));
            leister.create(&name(*wire, at), &options);
        }
    }
    leister.stop();
    for wire in wires {
        let names = (0..2 * volumes).map(|at| format!("leister_{}", name(*wire, at)));
        let routes = names.map(|name| permit(&filer, leister.guest(), &name)).collect::<Result<_>>()?;
        let measured = on_node(leister.guest(), &Plan { routes, size, rounds })?;
        show(&format!("{wire:?}"), &measured, &mut tables.attaches, &mut tables.writes);
        // The next wire may fail.
        println!("{}\n\n{}\n", tables.attaches, tables.writes);
    }
    Ok(())
}

fn name(wire: Wire, at: usize) -> String {
    format!("{wire:?}{at}").to_lowercase()
}

/// `bench node`.
pub(crate) fn in_guest() -> Result<()> {
    let plan = serde_json::from_reader(std::io::stdin()).context("the plan is not understood")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{}", serde_json::to_string(&runtime.block_on(node::measure(plan))?)?);
    Ok(())
}

fn on_node(guest: &Guest, plan: &Plan) -> Result<Vec<Measured>> {
    guest.put("/run/plan", serde_json::to_string(plan)?)?;
    let program = std::env::current_exe()?;
    let said = guest.exec_within(LIMIT, &format!("{} node </run/plan", program.display()));
    ensure!(said.is_ok(), "the node failed: {}{}", said.stdout, said.stderr);
    serde_json::from_str(&said.stdout).context("the node's answer")
}

/// Lets the node reach a volume, by one portal; by which route.
fn permit(filer: &Filer<'_>, guest: &Guest, handle: &str) -> Result<Route> {
    let line = |path: &str| guest.read(path).ok().and_then(|text| String::from_utf8(text).ok());
    let initiator = line("/etc/iscsi/initiatorname.iscsi").context("the node has no initiator name")?;
    let identity = NodeIdentity {
        addresses: vec![guest.address(0).into(), guest.address(1).into()],
        initiator: Some(initiator.trim().trim_start_matches("InitiatorName=").to_owned()),
        nqn: line("/etc/nvme/hostnqn").map(|nqn| nqn.trim().to_owned()),
        ..NodeIdentity::named(NodeName::new("node1")?)
    };
    let body = serde_json::to_string(&Permit::shared(identity))?;
    let trust = "/var/lib/leister/filer/trust";
    let said = filer.exec(&format!(
        "curl -sSf -m 60 --cacert {trust}/ca.crt --cert {trust}/{TENANT}.crt --key {trust}/{TENANT}.key -X PUT \
         -H 'content-type: application/json' -d '{body}' https://127.0.0.1:8444/v1/volumes/{handle}/permits/node1"
    ));
    ensure!(said.is_ok(), "no permit for {handle}: {}{}", said.stdout, said.stderr);
    let mut answer: Value = serde_json::from_str(&said.stdout)?;
    let mut route = serde_json::from_value(answer["state"].take()).context("the route")?;
    // A person's steps with several portals are another table.
    match &mut route {
        Route::Iscsi(route) => route.portals.truncate(1),
        Route::Nvme(route) => route.portals.truncate(1),
        _ => {}
    }
    Ok(route)
}

fn show(wire: &str, measured: &[Measured], table: &mut Table, writes: &mut Table) {
    let mut whats: Vec<&str> = Vec::new();
    for one in measured.iter().filter(|one| one.wrote.is_empty()) {
        if !whats.contains(&one.what.as_str()) {
            whats.push(&one.what);
        }
    }
    for what in whats {
        let spread = |way, pick: fn(&Measured) -> &Vec<f64>| {
            let mut spread = Spread::default();
            let of_way = measured.iter().filter(|one| one.what == what && one.way == way);
            of_way.flat_map(pick).for_each(|seconds| spread.add(Duration::from_secs_f64(*seconds)));
            spread
        };
        let mut cells = vec![wire.to_owned(), what.to_owned()];
        for pick in [(|m| &m.attach) as fn(&Measured) -> &Vec<f64>, |m| &m.detach] {
            let (ours, hand) = (spread(Way::Leister, pick), spread(Way::ByHand, pick));
            cells
                .extend([&ours, &hand].into_iter().flat_map(|s| [ms(s.quantile(0.5)), ms(s.quantile(0.99))]));
            let ratio = ours.quantile(0.5).as_secs_f64() / hand.quantile(0.5).as_secs_f64();
            cells.push(format!("{ratio:.2}"));
        }
        table.add_row(cells);
    }
    let mut cells = vec![wire.to_owned()];
    for at in [0, 1] {
        let middle = |way| {
            let wrote = measured.iter().filter(|one| one.way == way).filter_map(|one| one.wrote.get(at));
            median(wrote.copied().collect())
        };
        let (ours, hand) = (middle(Way::Leister), middle(Way::ByHand));
        cells.extend([ours, hand].map(|seconds| ms(Duration::from_secs_f64(seconds))));
        cells.push(format!("{:.2}", ours / hand));
    }
    writes.add_row(cells);
}
