//! Volumes over the wire: what is asked twice, what is wrong, what outlives a restart.

use filer::{ErrorKind, Layout, Source};
use model::{Bytes, NodeIdentity, NodeName, Permit};

use crate::rig::{Rig, volume};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_can_be_repeated() {
    let rig = Rig::new().await;
    let client = rig.client("acme", "one").await;
    let pool = client.pools().await.unwrap().remove(0);
    assert_eq!((pool.name.as_str(), pool.overcommit), ("pool", 10.0));
    assert!(pool.stats.free > Bytes::mib(256));
    let mut clone = volume("w");
    clone.source = Some(Source::Snapshot { handle: "v".to_owned(), name: "s".to_owned() });
    for changed in [true, false] {
        assert_eq!(client.create(&volume("v")).await.unwrap().changed(), changed);
        assert_eq!(client.take("v", "s").await.unwrap().changed(), changed);
        assert_eq!(client.create(&clone).await.unwrap().changed(), changed);
    }
    for changed in [true, false] {
        assert_eq!(client.grow("v", Bytes::mib(32)).await.unwrap().changed(), changed);
        assert_eq!(client.mark_staged("v").await.unwrap().changed(), changed);
    }
    assert_eq!(client.find("v").await.unwrap().unwrap().staged, Some(true));
    assert!(client.restore("v", "s").await.unwrap().changed());
    assert_eq!(client.find("v").await.unwrap().unwrap().staged, Some(false));
    for changed in [true, false] {
        assert_eq!(client.delete_snapshot("v", "s").await.unwrap().changed(), changed);
        if changed {
            assert!(!client.create(&clone).await.unwrap().changed(), "it outlives its source");
        }
        assert!(!client.forbid("v", "nobody").await.unwrap().changed());
        assert_eq!(client.delete("w").await.unwrap().changed(), changed);
    }
    // It has another size now.
    assert_eq!(client.create(&volume("v")).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_outlive_the_service() {
    let mut rig = Rig::new().await;
    let client = rig.client("acme", "one").await;
    let made = client.create(&volume("v")).await.unwrap().into_state();
    client.take("v", "s").await.unwrap();
    rig.stop().await;
    let gone = client.find("v").await.unwrap_err();
    assert!(gone.kind() == ErrorKind::Unreachable && gone.to_string().contains("refuses"), "{gone}");
    rig.start().await;
    let client = rig.client("acme", "one").await;
    let found = client.find("v").await.unwrap().unwrap();
    assert_eq!((found.created, found.size), (made.created, made.size));
    assert_eq!(client.list_snapshots("v").await.unwrap().len(), 1);
    assert!(client.delete("v").await.unwrap().changed());
    assert!(!client.delete("v").await.unwrap().changed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_said_as_it_is() {
    let rig = Rig::new().await;
    let client = rig.client("acme", "one").await;
    client.create(&volume("v")).await.unwrap();
    let mut full = volume("full");
    full.size = Bytes::gib(4096);
    let mut block = volume("b");
    block.layout = Layout::Block;
    let mut bare = volume("bare");
    bare.labels.clear();
    let node = NodeIdentity::named(NodeName::new("n").unwrap());
    for (error, kind, part) in [
        (client.create(&full).await.unwrap_err(), ErrorKind::NoCapacity, "4TiB were asked for volume `full`"),
        (client.create(&block).await.unwrap_err(), ErrorKind::Invalid, "cannot be reached by nfs"),
        (client.create(&bare).await.unwrap_err(), ErrorKind::Invalid, "without the label"),
        (client.create(&volume(".v")).await.unwrap_err(), ErrorKind::Invalid, "handle `.v`"),
        (
            client.grow("absent", Bytes::mib(1)).await.unwrap_err(),
            ErrorKind::NotFound,
            "`absent` does not exist",
        ),
        (client.grow("v", Bytes::mib(1)).await.unwrap_err(), ErrorKind::Invalid, "cannot shrink"),
        (
            client.permit("v", &Permit::shared(node)).await.unwrap_err(),
            ErrorKind::Unsupported,
            "serves no wire",
        ),
    ] {
        assert!(
            error.kind() == kind && error.to_string().contains(part),
            "{part}: {:?} {error}",
            error.kind()
        );
    }
    assert!(client.find("v").await.unwrap().unwrap().permits.is_empty());
}
