//! Who may use whom. The picture is in ARCHITECTURE.md; this is the table that holds it.

use super::Finding;
use super::tree::{Package, Tree};

/// What packages at one place may use of this workspace.
struct Allowed {
    /// A package's folder, or the beginning of several when it ends in `/`.
    place: &'static str,
    uses: &'static [&'static str],
    /// What their tests may use besides.
    tests_use: &'static [&'static str],
    why: &'static str,
}

const ANY: &str = "*";

/// The first row that fits counts.
const ALLOWED: &[Allowed] = &[
    Allowed { place: "crates/model", uses: &[], tests_use: &[], why: "the words of the house stand alone" },
    Allowed {
        place: "crates/driver",
        uses: &["model"],
        tests_use: &[],
        why: "a contract knows only the words",
    },
    Allowed { place: "crates/store", uses: &[], tests_use: &[], why: "the store knows bytes, not volumes" },
    Allowed {
        place: "crates/orchestrator",
        uses: &["model", "driver", "store"],
        tests_use: &[],
        why: "the orchestrator knows contracts, no family of backends and no frontend",
    },
    Allowed {
        place: "crates/host",
        uses: &["model"],
        tests_use: &["rig"],
        why: "a node works without a controller",
    },
    Allowed {
        place: "crates/filer",
        uses: &["model"],
        tests_use: &["rig"],
        why: "storage on Linux is no driver",
    },
    Allowed { place: "crates/api", uses: &[], tests_use: &[], why: "a client needs no more than the types" },
    Allowed {
        place: "crates/linux",
        uses: &["model", "driver", "filer"],
        tests_use: &["host", "rig", "filer-suite"],
        why: "a family knows its contract and its array",
    },
    Allowed {
        place: "crates/ontap",
        uses: &["model", "driver"],
        // What a person sees of rights and outages is the family's and the orchestrator's work together.
        tests_use: &["sim-ontap", "orchestrator", "store"],
        why: FAMILY,
    },
    Allowed { place: "crates/element", uses: &["model", "driver"], tests_use: &["sim-element"], why: FAMILY },
    Allowed {
        place: "crates/santricity",
        uses: &["model", "driver"],
        tests_use: &["sim-santricity"],
        why: FAMILY,
    },
    Allowed {
        place: "crates/node",
        uses: &["model", "orchestrator", "host"],
        tests_use: &[],
        why: "it brings the orchestrator and a node's hands together, for every frontend",
    },
    Allowed {
        place: "crates/frontends/",
        uses: &["model", "orchestrator", "host", "node", "api"],
        tests_use: &["driver", "store"],
        why: "a frontend knows no family, no store and no other frontend",
    },
    Allowed {
        place: "crates/sims/data",
        uses: &["model", "filer", "sim-kit", "sim-ontap"],
        tests_use: &[],
        why: "it brings a simulator's state and the filer's rooms together, and knows no driver",
    },
    Allowed {
        place: "crates/sims/",
        uses: &["filer", "sim-kit"],
        tests_use: &[],
        why: "a simulator shares no type with the driver it tests: a misread field must not agree with itself",
    },
    Allowed { place: "crates/leister", uses: &[ANY], tests_use: &[ANY], why: "the binary wires everything" },
    Allowed { place: "tests/rig", uses: &[], tests_use: &[], why: "the rig knows Linux, not the product" },
    Allowed {
        place: "tests/wires",
        uses: &["model", "host"],
        tests_use: &["rig"],
        why: "it brings a node's hands into a guest, and nothing else of the product",
    },
    Allowed {
        place: "tests/kube",
        uses: &["rig", "filer-suite", "docker-suite", "go-suite"],
        // What every store must do needs a real apiserver for one of them.
        tests_use: &["store"],
        why: "whole-system tests know the product as a user does",
    },
    Allowed {
        place: "tests/",
        uses: &["rig", "filer-suite", "docker-suite", "go-suite"],
        tests_use: &["api"],
        why: "whole-system tests know the product as a user does",
    },
    Allowed { place: "bench", uses: &[ANY], tests_use: &[ANY], why: "anything may be measured" },
    Allowed { place: "xtask", uses: &[], tests_use: &[], why: "checks stand apart from what they check" },
];

const FAMILY: &str = "a family knows its contract, and no other family";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let place = format!("{}/Cargo.toml", package.folder);
    let fits = |allowed: &&Allowed| {
        package.folder == allowed.place
            || (allowed.place.ends_with('/') && package.folder.starts_with(allowed.place))
    };
    let Some(allowed) = ALLOWED.iter().find(fits) else {
        return vec![Finding::wrong(place, "say in xtask/src/tidy/edges.rs what this package may use")];
    };
    let may = |names: &[&str], to: &str| names.iter().any(|name| *name == ANY || *name == to);
    package
        .edges
        .iter()
        .filter(|edge| !may(allowed.uses, &edge.to) && (!edge.for_tests || !may(allowed.tests_use, &edge.to)))
        .map(|edge| {
            let who = if edge.for_tests { "the tests of " } else { "" };
            let what = format!("{who}`{}` may not use `{}`: {}", package.name, edge.to, allowed.why);
            Finding::wrong(&place, what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::Edge;

    fn findings(folder: &str, to: &str, for_tests: bool) -> usize {
        let edges = vec![Edge { to: to.into(), for_tests }];
        check_package(&Package { name: "sample".into(), folder: folder.into(), edges }).len()
    }

    #[test]
    fn an_edge_is_allowed_only_where_the_table_says_so() {
        for (folder, to, for_tests, expected) in [
            ("crates/orchestrator", "model", false, 0),
            ("crates/orchestrator", "linux", false, 1),
            ("crates/orchestrator", "linux", true, 1),
            ("crates/model", "driver", false, 1),
            ("crates/store", "model", false, 1),
            ("crates/host", "driver", false, 1),
            ("crates/filer", "model", false, 0),
            ("crates/api", "model", false, 1),
            ("crates/linux", "filer", false, 0),
            ("crates/linux", "ontap", false, 1),
            ("crates/frontends/rest", "api", false, 0),
            ("crates/frontends/rest", "docker", false, 1),
            ("crates/frontends/rest", "store", false, 1),
            ("crates/frontends/rest", "store", true, 0),
            ("crates/sims/ontap", "ontap", true, 1),
            ("crates/leister", "linux", false, 0),
            ("tests/docker", "model", false, 1),
            ("tests/faults", "rig", false, 0),
            ("tests/wires", "host", false, 0),
            ("tests/wires", "linux", false, 1),
            ("tests/rig", "api", true, 1),
            ("crates/filer", "rig", true, 0),
            ("crates/filer", "rig", false, 1),
            ("crates/orchestrator", "rig", true, 1),
        ] {
            assert_eq!(findings(folder, to, for_tests), expected, "{folder} -> {to} for_tests={for_tests}");
        }
    }

    #[test]
    fn a_package_the_table_does_not_know_is_named() {
        let unknown = Package { name: "new".into(), folder: "crates/new".into(), edges: Vec::new() };
        assert!(check_package(&unknown)[0].what.contains("edges.rs"));
    }
}
