//! NVMe/TCP, and the groups of ways that an administrator changes: on emulated machines, whose kernel has them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

use std::path::Path;

use faults::{Fault, Row, Wire, faults, run_all, table};
use rig::{Backend, Rig};

const NAMES: [&str; 5] = [
    "one path gone",
    "controller fail-over (ALUA, ANA)",
    "path not preferred any more (ALUA, ANA)",
    "whole storage down and back",
    "the storage's service killed",
];

#[test]
fn namespaces_outlive_their_storage_and_the_node_follows_what_an_administrator_prefers() {
    if let Err(reason) = Rig::available(Backend::Tcg) {
        println!("skipped: {reason}");
        return;
    }
    let wanted = |fault: &Fault| {
        let is_stock = fault.plan.as_ref().is_ok_and(|plan| plan.kernel == Backend::Tcg);
        is_stock && NAMES.contains(&fault.name)
    };
    let list: Vec<Fault> = faults().into_iter().filter(wanted).collect();
    let on = |wire| list.iter().filter(|fault| fault.wire == wire).count();
    assert_eq!((on(Wire::Nvme), on(Wire::Iscsi)), (5, 2), "{list:?}");
    let rows = run_all(&list, Path::new(env!("CARGO_BIN_EXE_writer")), |_| {}).unwrap();
    println!("{}", table(&rows));
    assert!(rows.iter().all(Row::is_well), "{rows:#?}");
}
