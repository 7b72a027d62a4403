use super::*;
use crate::error::ErrorKind;

fn node(name: &str) -> NodeIdentity {
    NodeIdentity::named(NodeName::new(name).unwrap())
}

fn record() -> VolumeRecord {
    CreateVolume::new("v", Bytes::mib(64)).record("us", false)
}

#[test]
fn a_record_of_format_1_is_read_with_its_permits_and_without_a_mark() {
    let text = r#"{"format":1,"handle":"v","owner":"us","name":"v","size":67108864,"layout":"file",
        "provisioning":"thin","reserved":false,"created":"2026-01-01T00:00:00Z","mode":null,"uid":null,"gid":null,
        "source":null,"permits":["b","a"],"labels":{},"imported_from":null}"#;
    let read: VolumeRecord = serde_json::from_str(text).unwrap();
    read.check_format().unwrap();
    assert_eq!(read.permits, [Permit::shared(node("a")), Permit::shared(node("b"))]);
    assert_eq!(read.staged, None);
    let later = VolumeRecord { format: FORMAT + 1, ..read };
    assert!(later.check_format().unwrap_err().to_string().contains("use the release that wrote it"));
    let snapshot: SnapshotRecord = serde_json::from_str(r#"{"format":1,"name":"s","size":4096}"#).unwrap();
    assert_eq!(snapshot.staged, None);
}

#[test]
fn an_exclusive_permit_stands_alone_and_a_changed_one_is_kept() {
    let mut volume = record();
    assert!(volume.permit(&Permit::shared(node("b"))).unwrap());
    assert!(volume.permit(&Permit::shared(node("a"))).unwrap());
    assert!(!volume.permit(&Permit::shared(node("a"))).unwrap());
    let error = volume.permit(&Permit::exclusive(node("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains("node `b`"), "{error}");
    assert!(volume.forbid(&node("b").name) && !volume.forbid(&node("b").name));
    assert!(volume.permit(&Permit::exclusive(node("a"))).unwrap());
    let error = volume.permit(&Permit::shared(node("b"))).unwrap_err();
    assert!(error.to_string().contains("node `a` alone"), "{error}");
    let mut moved = Permit::exclusive(node("a"));
    moved.node.addresses.push("192.0.2.7".parse().unwrap());
    assert!(volume.permit(&moved).unwrap() && !volume.permit(&moved).unwrap());
    let read: VolumeRecord = serde_json::from_slice(&serde_json::to_vec(&volume).unwrap()).unwrap();
    assert_eq!(read.permits, [moved]);
}

#[test]
fn the_safer_of_two_marks_formats_less() {
    for (one, other, safe) in [
        (Some(true), Some(false), Some(true)),
        (Some(false), None, None),
        (None, Some(true), Some(true)),
        (Some(false), Some(false), Some(false)),
    ] {
        assert_eq!((safer(one, other), safer(other, one)), (safe, safe));
    }
}
