//! One tenant never sees or changes what is another's.

use filer::{ErrorKind, Source};
use model::Bytes;

use crate::rig::{Rig, volume};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_never_meet_not_even_by_a_name() {
    let rig = Rig::new().await;
    let (acme, other) = (rig.client("acme", "one").await, rig.client("acme-2", "one").await);
    assert!(acme.create(&volume("v")).await.unwrap().changed());
    acme.take("v", "s").await.unwrap();
    assert_eq!(other.find("v").await.unwrap(), None);
    assert!(other.list().await.unwrap().is_empty());
    assert!(!other.delete("v").await.unwrap().changed());
    assert!(!other.delete_snapshot("v", "s").await.unwrap().changed());
    for (what, error) in [
        ("grow", other.grow("v", Bytes::mib(64)).await.unwrap_err()),
        ("take", other.take("v", "t").await.unwrap_err()),
        ("restore", other.restore("v", "s").await.unwrap_err()),
        ("mark", other.mark_staged("v").await.unwrap_err()),
        ("snapshots", other.list_snapshots("v").await.unwrap_err()),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error}");
        assert!(!error.to_string().contains("acme"), "{what}: {error}");
    }
    let mut clone = volume("w");
    clone.source = Some(Source::Volume { handle: "v".to_owned() });
    assert_eq!(other.create(&clone).await.unwrap_err().kind(), ErrorKind::NotFound);
    // A handle that looks as if it led out.
    for handle in ["..", "%2e%2e", "../acme.v", "acme.v"] {
        assert_eq!(other.find(handle).await.ok().flatten(), None, "{handle}");
    }
    // The same name is another volume there.
    assert!(other.create(&volume("v")).await.unwrap().changed());
    assert!(other.delete("v").await.unwrap().changed());
    assert_eq!(acme.list().await.unwrap().len(), 1);
    assert_eq!(acme.list_snapshots("v").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_a_tenant_see_one_another_and_change_only_their_own() {
    let rig = Rig::new().await;
    let (one, two) = (rig.client("acme", "one").await, rig.client("acme", "two").await);
    one.create(&volume("v")).await.unwrap();
    assert_eq!(two.find("v").await.unwrap().unwrap().owner, "one");
    for error in [
        two.create(&volume("v")).await.unwrap_err(),
        two.delete("v").await.unwrap_err(),
        two.grow("v", Bytes::mib(64)).await.unwrap_err(),
        two.take("v", "s").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("`v` belongs to instance `one`"), "{error}");
    }
    assert_eq!(one.find("v").await.unwrap().unwrap().size, Bytes::mib(16));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_imported_by_the_tenant_whose_name_they_bear() {
    let rig = Rig::new().await;
    let (acme, other) = (rig.client("acme", "one").await, rig.client("other", "one").await);
    let path = rig.pool().join("acme.data");
    let made = std::process::Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&path).status();
    assert!(made.unwrap().success());
    std::fs::write(path.join("content"), "7").unwrap();
    assert_eq!(other.find_foreign("data").await.unwrap(), None);
    assert_eq!(other.import("data", &volume("v")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(acme.find_foreign("data").await.unwrap().unwrap().subvolume);
    let mut wanted = volume("v");
    wanted.provisioning = filer::Provisioning::Thick;
    let imported = acme.import("data", &wanted).await.unwrap().into_state();
    assert_eq!((imported.handle.as_str(), imported.imported_from.as_deref()), ("v", Some("data")));
    assert!(!acme.import("data", &wanted).await.unwrap().changed());
}
