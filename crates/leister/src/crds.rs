//! What a Kubernetes cluster has to know of our records: `leister crds` prints it.

use ::store::{Column, Definition};
use clap::Args;

use crate::cli::Result;
use crate::output;

/// The orchestrator's kinds of records, as the cluster calls them.
pub(crate) const KINDS: [Definition; 5] = [
    Definition {
        kind: "volume",
        name: "Volume",
        plural: "volumes",
        about: "A volume, what it shall be, where it is, and who uses it.",
        columns: &[
            column("Backend", ".spec.backend", "string"),
            column("Pool", ".spec.pool", "string"),
            column("Size", ".spec.spec.size", "integer"),
            column("Layout", ".spec.spec.layout", "string"),
            column("Class", ".spec.spec.class", "string"),
            column("Settled", ".spec.settled", "boolean"),
            wide(column("Goal", ".spec.goal", "string")),
            wide(column("Missing", ".spec.missing", "boolean")),
            wide(column("Trouble", ".spec.trouble", "string")),
        ],
        is_private: false,
    },
    Definition {
        kind: "snapshot",
        name: "Snapshot",
        plural: "snapshots",
        about: "A snapshot of a volume.",
        columns: &[
            column("Volume", ".spec.volume", "string"),
            column("Snapshot", ".spec.name", "string"),
            column("Size", ".spec.size", "integer"),
            column("Settled", ".spec.settled", "boolean"),
            wide(column("Goal", ".spec.goal", "string")),
        ],
        is_private: false,
    },
    Definition {
        kind: "class",
        name: "Class",
        plural: "classes",
        about: "Wishes for volumes, under a name.",
        columns: &[column("Backend-Type", ".spec.parameters.backendType", "string")],
        is_private: false,
    },
    Definition {
        kind: "node",
        name: "Node",
        plural: "nodes",
        about: "A machine that uses volumes.",
        columns: &[
            column("Initiator", ".spec.identity.initiator", "string"),
            column("Registered", ".spec.registered", "date"),
        ],
        is_private: false,
    },
    Definition {
        kind: "backend",
        name: "BackendRecord",
        plural: "backendrecords",
        about: "A backend that was made through the API; a Secret has what it is.",
        columns: &[],
        is_private: true,
    },
];

#[derive(Debug, Args)]
pub(crate) struct CrdsArgs {
    /// Print Trident's TridentBackendConfig, for a cluster that does not have it from Trident
    #[arg(long)]
    trident: bool,
}

/// Prints the definitions.
///
/// # Errors
/// Nobody reads them.
pub(crate) fn print(args: &CrdsArgs) -> Result<()> {
    let text = if args.trident { cluster::TRIDENT_DEFINITION.to_owned() } else { definitions() };
    Ok(output::raw(text.as_bytes())?)
}

fn definitions() -> String {
    ::store::definitions(&KINDS) + cluster::DEFINITION
}

const fn column(title: &'static str, path: &'static str, form: &'static str) -> Column {
    Column { title, path, form, is_wide: false }
}

const fn wide(column: Column) -> Column {
    Column { is_wide: true, ..column }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_for_clusters_is_what_the_verb_prints() {
        let file = include_str!("../../../deploy/kubernetes/crds.yaml");
        assert_eq!(file, definitions(), "`leister crds >deploy/kubernetes/crds.yaml`");
        let file = include_str!("../../../deploy/kubernetes/trident.yaml");
        assert_eq!(
            file,
            cluster::TRIDENT_DEFINITION,
            "`leister crds --trident >deploy/kubernetes/trident.yaml`"
        );
    }
}
