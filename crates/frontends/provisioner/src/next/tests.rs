use serde_json::{Value, json};

use super::*;
use crate::samples;

/// What comes next; `null` for what is not there.
fn decided(claim: Value, volume: Value, record: Value, last: Option<Reclaim>) -> Next {
    let claim = (!claim.is_null()).then(|| samples::claim(claim));
    let volume = (!volume.is_null()).then(|| samples::volume(volume));
    let record = (!record.is_null()).then(|| samples::record(record));
    next(&Seen {
        claim: claim.as_ref(),
        volume: volume.as_ref(),
        record: record.as_ref(),
        last,
        classes: &[Arc::new(samples::class(json!({})))],
        names: &["netapp.io/trident".to_owned()],
    })
}

const NONE: Value = Value::Null;

fn bound(to: &str) -> Value {
    json!({ "spec": { "volumeName": to }, "status": { "phase": "Bound" } })
}

fn lost() -> Value {
    json!({ "spec": { "volumeName": "default-nfs-test-9e6cb" }, "status": { "phase": "Lost" } })
}

fn in_phase(phase: &str) -> Value {
    json!({ "status": { "phase": phase } })
}

fn going(phase: &str, reclaim: &str) -> Value {
    json!({
        "metadata": { "deletionTimestamp": "2018-06-01T00:00:00Z" },
        "spec": { "persistentVolumeReclaimPolicy": reclaim },
        "status": { "phase": phase },
    })
}

fn another_claim() -> Value {
    json!({ "metadata": { "uid": "9e6cb0a1-ffff-4000-8000-000000000000" } })
}

#[test]
fn a_claim_becomes_a_volume_a_pv_and_is_then_left_alone() {
    let here = || json!({});
    let used = || json!({ "staged": true });
    assert_eq!(decided(here(), NONE, NONE, None), Next::Provision);
    // However far it had come when we died.
    assert_eq!(decided(here(), NONE, json!({ "settled": false }), None), Next::Provision);
    assert_eq!(decided(here(), NONE, here(), None), Next::Provision);
    assert_eq!(decided(here(), NONE, used(), None), Next::Provision);
    assert_eq!(decided(here(), in_phase("Available"), here(), None), Next::Keep);
    assert_eq!(decided(bound("default-nfs-test-9e6cb"), here(), used(), None), Next::Keep);
    // Its PV is seen later than its claim's binding.
    assert_eq!(decided(bound("default-nfs-test-9e6cb"), NONE, here(), None), Next::Nothing);
}

#[test]
fn a_claim_that_vanished_or_found_another_volume_leaves_none_behind() {
    let here = || json!({});
    let deleted = json!({ "metadata": { "deletionTimestamp": "2018-06-01T00:00:00Z" } });
    for record in [here(), json!({ "settled": false })] {
        assert_eq!(decided(NONE, NONE, record.clone(), None), Next::Delete);
        assert_eq!(decided(deleted.clone(), NONE, record.clone(), None), Next::Delete);
        assert_eq!(decided(bound("pv0003"), NONE, record.clone(), None), Next::Delete);
        assert_eq!(decided(another_claim(), NONE, record, None), Next::Delete);
    }
    assert_eq!(decided(deleted, NONE, NONE, None), Next::Nothing);
    assert_eq!(decided(bound("pv0003"), in_phase("Available"), here(), None), Next::Withdraw);
}

#[test]
fn the_pv_says_what_becomes_of_a_volume_that_was_in_use() {
    let used = || json!({ "staged": true });
    for phase in ["Released", "Failed"] {
        assert_eq!(decided(NONE, in_phase(phase), used(), None), Next::Reclaim);
        assert_eq!(decided(NONE, going(phase, "Delete"), used(), None), Next::Reclaim);
        assert_eq!(decided(NONE, going(phase, "Retain"), used(), None), Next::Release);
        let kept =
            json!({ "spec": { "persistentVolumeReclaimPolicy": "Retain" }, "status": { "phase": phase } });
        assert_eq!(decided(NONE, kept, used(), None), Next::Keep);
        let strange =
            json!({ "spec": { "persistentVolumeReclaimPolicy": "Recycle" }, "status": { "phase": phase } });
        assert_eq!(decided(NONE, strange, used(), None), Next::Keep);
        // The record may be lost, or gone a moment before we died.
        assert_eq!(decided(NONE, in_phase(phase), NONE, None), Next::Reclaim);
    }
    // Somebody deletes the PV of a claim that is in use.
    assert_eq!(decided(bound("default-nfs-test-9e6cb"), going("Bound", "Delete"), used(), None), Next::Keep);
}

#[test]
fn a_volume_whose_pv_is_gone_is_deleted_only_if_that_was_seen() {
    let used = || json!({ "staged": true });
    assert_eq!(decided(lost(), NONE, used(), Some(Reclaim::Delete)), Next::Delete);
    assert_eq!(decided(lost(), NONE, used(), Some(Reclaim::Retain)), Next::Nothing);
    assert_eq!(decided(lost(), NONE, used(), None), Next::Left);
    assert_eq!(decided(NONE, NONE, used(), Some(Reclaim::Delete)), Next::Delete);
    assert_eq!(decided(NONE, NONE, used(), Some(Reclaim::Retain)), Next::Nothing);
    assert_eq!(decided(NONE, NONE, used(), None), Next::Nothing);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let foreign = |phase: &str| {
        json!({
            "metadata": { "annotations": { "pv.kubernetes.io/provisioned-by": "other.org/disk" } },
            "status": { "phase": phase },
        })
    };
    assert_eq!(decided(NONE, foreign("Released"), NONE, None), Next::Nothing);
    assert_eq!(decided(NONE, foreign("Released"), json!({}), None), Next::Keep);
    // One of the provisioner that had the name before us.
    let older = json!({ "metadata": { "finalizers": [] }, "status": { "phase": "Released" } });
    assert_eq!(decided(NONE, older, NONE, None), Next::Nothing);
    let made_otherwise = json!({ "spec": { "labels": { "provisioner": null } } });
    assert_eq!(decided(NONE, NONE, made_otherwise.clone(), None), Next::Nothing);
    assert!(matches!(decided(json!({}), NONE, made_otherwise, None), Next::Refuse(_)));
}

#[test]
fn two_claims_whose_names_and_ids_begin_alike_never_share_a_volume() {
    let used = json!({ "staged": true });
    for volume in [NONE, in_phase("Bound"), in_phase("Available")] {
        let Next::Refuse(reason) = decided(another_claim(), volume, used.clone(), None) else { panic!() };
        assert!(reason.contains("default-nfs-test-9e6cb") && reason.contains("create it again"), "{reason}");
    }
    assert_eq!(decided(another_claim(), in_phase("Released"), used, None), Next::Reclaim);
}

#[test]
fn a_class_that_is_gone_stops_what_was_not_begun_only() {
    let gone = json!({ "spec": { "storageClassName": "gone" } });
    assert!(matches!(decided(gone.clone(), NONE, NONE, None), Next::Refuse(_)));
    assert!(matches!(decided(gone.clone(), NONE, json!({ "settled": false }), None), Next::Refuse(_)));
    assert_eq!(decided(gone, NONE, json!({}), None), Next::Provision);
    let selector = json!({ "spec": { "selector": {} } });
    assert!(matches!(decided(selector, NONE, NONE, None), Next::Ignore(_)));
}
