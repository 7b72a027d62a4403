//! A claim's way and a pod's on a Kubernetes cluster of one node, beside what the cluster itself takes for them, and how
//! often Leister asks the apiserver.

mod claims;
mod nodes;
mod pods;
mod records;
mod site;
mod took;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::spread::{Spread, ms};
use claims::Claims;
use nodes::Nodes;
use pods::Pods;
use records::Records;
use site::Site;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// Claims at once.
    #[arg(long, value_delimiter = ',', default_value = "1,100")]
    at_once: Vec<usize>,
    /// Claims of each way at least, one after the other where they are not at once.
    #[arg(long, default_value_t = 20)]
    claims: usize,
    /// Measurements of claims at once per way, taken in turns, at least.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Pods of each way.
    #[arg(long, default_value_t = 10)]
    pods: usize,
    /// Nodes that make themselves known at once.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Volumes whose records are read by who begins to lead.
    #[arg(long, default_value_t = 10_000)]
    volumes: usize,
    /// Write the figures there too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Whose volume it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Way {
    /// Nobody's: a static PV that is there, an emptyDir.
    #[serde(rename = "floor")]
    Floor,
    /// On a pool of the node, with the records in its SQLite.
    #[serde(rename = "local")]
    Local,
    /// On a simulated array, with the records in the cluster.
    #[serde(rename = "recorded")]
    Recorded,
}

const WAYS: [Way; 3] = [Way::Floor, Way::Local, Way::Recorded];

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Figures {
    p50: f64,
    p99: f64,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
struct Measured {
    claims: Vec<Claims>,
    pods: Vec<Pods>,
    nodes: Option<Nodes>,
    records: Option<Records>,
    requests: Vec<Requests>,
}

/// What one claim's life costs, of one verb and resource.
#[derive(Debug, Serialize)]
struct Requests {
    whose: &'static str,
    verb: String,
    resource: String,
    claims: usize,
    requests: usize,
}

pub(crate) fn measure(plan: &Plan) -> Result<()> {
    ensure!(plan.claims > 0 && plan.rounds > 0, "nothing to measure; use 1 or more");
    ensure!(plan.at_once.iter().all(|count| *count > 0), "--at-once: no claims; use 1 or more");
    if let Some(reason) = kube_suite::lacking() {
        anyhow::bail!("no cluster can run here: {reason}");
    }
    let site = Site::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut measured = Measured::default();
    for count in &plan.at_once {
        let rounds = plan.rounds.max(plan.claims.div_ceil(*count));
        let of_count = runtime.block_on(claims::measure(&site, *count, rounds));
        let (claims, requests) = of_count.with_context(|| site.cluster.evidence())?;
        measured.claims.extend(claims);
        measured.requests = requests;
    }
    if plan.pods > 0 {
        let pods = runtime.block_on(pods::measure(&site, plan.pods));
        measured.pods = pods.with_context(|| site.cluster.evidence())?;
    }
    if plan.nodes > 0 {
        let nodes = runtime.block_on(nodes::measure(&site, plan.nodes));
        measured.nodes = Some(nodes.with_context(|| site.cluster.evidence())?);
    }
    if plan.volumes > 0 {
        let records = runtime.block_on(records::measure(&site, plan.volumes));
        measured.records = Some(records.with_context(|| site.cluster.evidence())?);
    }
    measured.show();
    if let Some(file) = &plan.json {
        std::fs::write(file, serde_json::to_string_pretty(&measured)?)
            .with_context(|| file.display().to_string())?;
    }
    Ok(())
}

impl Way {
    const fn claim(self) -> &'static str {
        match self {
            Way::Floor => "a static PV",
            Way::Local => "a pool of the node",
            Way::Recorded => "an array, records in the cluster",
        }
    }

    const fn pod(self) -> &'static str {
        match self {
            Way::Floor => "emptyDir",
            Way::Local | Way::Recorded => self.claim(),
        }
    }
}

impl Figures {
    fn of(spread: &Spread) -> Figures {
        let at = |part| spread.quantile(part).as_secs_f64() * 1000.0;
        Figures { p50: at(0.5), p99: at(0.99) }
    }

    fn cells(self) -> [String; 2] {
        [self.p50, self.p99].map(shown)
    }
}

impl Measured {
    fn show(&self) {
        let mut table = table(&[
            "claims at once",
            "volume",
            "created → Bound p50",
            "p99",
            "of it CreateVolume p50",
            "p99",
            "all Bound after",
            "against a static PV",
        ]);
        for one in &self.claims {
            let mut cells = vec![one.at_once.to_string(), one.way.claim().to_owned()];
            cells.extend(one.bound.cells());
            cells.extend(one.ours.map_or([String::new(), String::new()], Figures::cells));
            cells.extend([shown(one.all), format!("{:.2}", one.against_floor)]);
            table.add_row(cells);
        }
        if !self.claims.is_empty() {
            println!("\nClaims\n{table}");
        }
        let mut table = self::table(&["volume", "created → Running p50", "p99", "of it ours p50", "p99"]);
        for one in &self.pods {
            let mut cells = vec![one.way.pod().to_owned()];
            cells.extend(one.running.cells());
            cells.extend(one.ours.map_or([String::new(), String::new()], Figures::cells));
            table.add_row(cells);
        }
        if !self.pods.is_empty() {
            println!("\nPods\n{table}");
        }
        if let Some(nodes) = &self.nodes {
            let mut table = self::table(&["nodes at once", "all known after", "the same again"]);
            table.add_row([nodes.at_once.to_string(), shown(nodes.new), shown(nodes.again)]);
            println!("\nNodes\n{table}");
        }
        if let Some(records) = &self.records {
            let mut table = self::table(&["volumes", "listed in", "leads after", "of it without the list"]);
            let figures = [records.listed, records.started, records.after].map(shown);
            table.add_row([vec![records.volumes.to_string()], figures.to_vec()].concat());
            println!("\nRecords in the cluster, read at the start\n{table}");
        }
        let mut table = self::table(&["whose", "verb", "resource", "for each claim"]);
        for one in &self.requests {
            #[allow(clippy::cast_precision_loss, reason = "counts are small")]
            let each = format!("{:.2}", one.requests as f64 / one.claims as f64);
            table.add_row([one.whose, &one.verb, &one.resource, &each]);
        }
        println!("\nRequests to the apiserver, with the records in the cluster\n{table}");
    }
}

fn shown(milliseconds: f64) -> String {
    ms(Duration::from_secs_f64(milliseconds / 1000.0))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header.to_vec());
    table
}
