//! The repository's own commands, behind `make`: checks, tests, and what they leave behind.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to a person")]

use clap::{Parser, Subcommand};

mod build;
mod checkout;
mod leftovers;
mod run;
mod suites;
mod test;
mod tidy;

#[derive(Parser)]
#[command(about = "The repository's own commands", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the rules of the house that a program can check
    Tidy,
    /// Run every check and every suite; the last line sums them up
    Test {
        /// Only suites whose names begin so, such as `tests/kube`, and no checks
        suites: Vec<String>,
    },
    /// Show the whole product at work
    Demo,
    /// Serve the instance `leister` in the foreground, its data in ./var/run
    Run,
    /// Measure
    Bench,
    /// Do faults to storage and node, and say in a table what came of them
    Faults {
        /// For the program `faults`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Start a Kubernetes cluster of two machines and a storage, and keep it until it is ended
    Cluster,
    /// End it
    ClusterDown,
    /// Write the image for containers
    Image,
    /// List mounts, loop devices and processes that are still here
    Leftovers,
    /// Undo mounts and loop devices under ./var, and remove it
    Clean,
}

fn main() -> anyhow::Result<()> {
    let checkout = checkout::Checkout::find()?;
    match Arguments::parse().command {
        Command::Tidy => tidy::command(&checkout),
        Command::Test { suites } => test::command(&checkout, &suites),
        Command::Demo => run::demo(&checkout),
        Command::Run => run::serve(&checkout),
        Command::Bench => run::bench(&checkout),
        Command::Faults { arguments } => run::faults(&checkout, &arguments),
        Command::Cluster => run::cluster(&checkout),
        Command::ClusterDown => run::cluster_down(&checkout),
        Command::Image => run::image(&checkout),
        Command::Leftovers => leftovers::command(&checkout),
        Command::Clean => leftovers::clean(&checkout),
    }
}
