//! Measures what `docs/limits-and-numbers.md` claims. Each figure stands beside a baseline of the same run,
//! because machines differ and drift; nothing here passes or fails.
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]

mod cluster;
mod http;
mod ontap;
mod peers;
mod scale;
mod spread;
mod system;
mod wires;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measure Leister")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The cost of one create with 0, 10,000 and 100,000 volumes present: SQLite store, array in memory.
    Scale {
        /// Creates per measurement.
        #[arg(long, default_value_t = 4000)]
        creates: usize,
        /// Creates at once.
        #[arg(long, default_value_t = 64)]
        parallel: usize,
        /// Measurements per store, taken in turns.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Volumes present.
        #[arg(long, value_delimiter = ',', default_value = "0,10000,100000")]
        present: Vec<usize>,
    },
    /// Creates, reads under load, start and memory of the whole product on a real pool. Needs root.
    System {
        /// Creates per measurement.
        #[arg(long, default_value_t = 200)]
        creates: usize,
        /// Measurements per way, taken in turns.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Volumes for the measurement of start and memory.
        #[arg(long, default_value_t = 10_000)]
        volumes: usize,
    },
    /// Creates and clones on the simulator of ONTAP, against what the time of its calls allows.
    Ontap {
        #[command(flatten)]
        plan: ontap::Plan,
    },
    /// Creates, clones and removals through Docker's plugin protocol on the simulator of ONTAP: by ours, and by any other
    /// program beside it.
    Peers {
        /// Our program.
        #[arg(long, default_value = "target/release/leister")]
        leister: std::path::PathBuf,
        /// How the other program is started, as in `other --config {config} --socket {socket}`: `{config}` is a backend
        /// file in Trident's format, `{folder}` a directory of its own.
        #[arg(long, requires = "peer_socket")]
        peer: Option<String>,
        /// Where the other program listens, as in `{folder}/other.sock` or /run/docker/plugins/other.sock.
        #[arg(long)]
        peer_socket: Option<String>,
        #[command(flatten)]
        plan: ontap::Plan,
    },
    /// Attach, detach and writes over a network, beside the same steps by hand, in guests. Needs root.
    Wires {
        /// By which wires.
        #[arg(long, value_enum, value_delimiter = ',', default_value = "nfs,iscsi")]
        wires: Vec<wires::Wire>,
        #[command(flatten)]
        extent: wires::Extent,
    },
    /// Claims until they are Bound and pods until they run, on a Kubernetes cluster of one node, beside static PVs and
    /// emptyDir; requests to the apiserver. Needs root.
    Cluster {
        #[command(flatten)]
        plan: cluster::Plan,
    },
    /// The part of `wires` that runs in the guest: a plan comes in, what was measured goes out.
    #[command(hide = true)]
    Node,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Scale { creates, parallel, rounds, present } => {
            scale::measure(&present, creates, parallel, rounds)
        }
        What::Ontap { plan } => ontap::measure(plan),
        What::Peers { leister, peer, peer_socket, plan } => {
            let other = peer.zip(peer_socket).map(|(command, socket)| peers::Program {
                name: "the other".to_owned(),
                command,
                socket,
            });
            let programs: Vec<_> = std::iter::once(peers::Program::ours(&leister)).chain(other).collect();
            peers::measure(&programs, plan)
        }
        What::System { creates, rounds, volumes } => system::measure(creates, rounds, volumes),
        What::Wires { wires, extent } => wires::measure(&wires, &extent),
        What::Cluster { plan } => cluster::measure(&plan),
        What::Node => wires::in_guest(),
    }
}
