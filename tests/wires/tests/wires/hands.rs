//! The program `hands` in a guest.

use std::path::PathBuf;

use model::{Bytes, Route, VolumeId};
use rig::Guest;
use serde_json::Value;
use wires::{Answer, Attach, Deed, Order};

use crate::LIMIT;

pub(crate) const MOUNTS: &str = "/run/leister-mounts";

/// An order with the usual limits.
pub(crate) fn order(deed: Deed) -> Order {
    let mounts_root = PathBuf::from(MOUNTS);
    Order { mounts_root, network: None, detach: None, patience: None, single_path: false, deed }
}

/// Calls the hands of a guest. Limits are milliseconds.
pub(crate) fn obey_within(node: &Guest, network: Option<u64>, detach: Option<u64>, deed: Deed) -> Answer {
    give(node, &Order { network, detach, ..order(deed) })
}

pub(crate) fn give(node: &Guest, order: &Order) -> Answer {
    let order = serde_json::to_string(order).unwrap();
    let script = format!("{} <<'ORDER'\n{order}\nORDER", env!("CARGO_BIN_EXE_hands"));
    let said = node.exec_within(LIMIT, &script).ok("hands");
    serde_json::from_str(&said).unwrap()
}

pub(crate) fn obey(node: &Guest, deed: Deed) -> Answer {
    give(node, &order(deed))
}

#[track_caller]
pub(crate) fn done(answer: Answer) -> Value {
    match answer {
        Answer::Done(value) => value,
        Answer::Failed { kind, text } => panic!("{kind}: {text}"),
    }
}

/// The error's name and text.
#[track_caller]
pub(crate) fn failed(answer: Answer) -> (String, String) {
    match answer {
        Answer::Failed { kind, text } => (kind, text),
        Answer::Done(value) => panic!("it should have failed: {value}"),
    }
}

pub(crate) fn volume(name: &str) -> VolumeId {
    VolumeId::new(name).unwrap()
}

pub(crate) fn attach(name: &str, route: Route, options: &[&str]) -> Attach {
    Attach {
        volume: volume(name),
        route,
        size: Bytes::mib(64),
        filesystem: None,
        read_only: false,
        mount_options: options.iter().map(|o| (*o).to_owned()).collect(),
        staged_before: false,
        encryption: None,
    }
}

/// Mounts an attached volume for a reference and says where.
#[track_caller]
pub(crate) fn mount(node: &Guest, name: &str, reference: &str) -> String {
    let deed = Deed::Mount { volume: volume(name), reference: reference.to_owned() };
    done(obey(node, deed)).as_str().unwrap().to_owned()
}

#[track_caller]
pub(crate) fn unmount(node: &Guest, name: &str, reference: &str) -> u64 {
    let deed = Deed::Unmount { volume: volume(name), reference: reference.to_owned() };
    done(obey(node, deed)).as_u64().unwrap()
}

pub(crate) fn detach(node: &Guest, name: &str) -> Answer {
    obey(node, Deed::Detach { volume: volume(name) })
}
