use std::fs;

use super::*;

/// Far more than any call has.
const MOST_AWAITS: usize = 2000;

/// One life of a volume, each call of which is first dropped at its nth await.
async fn live(rig: &Rig, v: &VolumeId, route: &Route, first: &Attachment, nth: usize) -> bool {
    let host = &rig.host;
    let mut finished = poll_times(nth, host.attach(v, route, first)).await.is_some();
    let attached = host.attach(v, route, first).await;
    assert!(attached.is_ok(), "attach after a death at await {nth}: {attached:?}");
    finished &= poll_times(nth, host.mount(v, "a")).await.is_some();
    let a = host.mount(v, "a").await.unwrap();
    fs::write(a.join("file"), "kept").unwrap();
    assert_eq!(host.references(v).unwrap().len(), 1, "await {nth}");
    finished &= poll_times(nth, host.unmount(v, "a")).await.is_some();
    assert_eq!(host.unmount(v, "a").await.unwrap(), 0, "await {nth}");
    finished &= poll_times(nth, host.detach(v)).await.is_some();
    host.detach(v).await.unwrap();
    rig.assert_clean();
    host.attach(v, route, &staged_before(first)).await.unwrap();
    let b = host.mount(v, "b").await.unwrap();
    assert_eq!(fs::read_to_string(b.join("file")).unwrap(), "kept", "await {nth}");
    host.unmount(v, "b").await.unwrap();
    host.forget(v).await.unwrap();
    rig.assert_clean();
    finished
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_converges_after_a_death_at_every_await() {
    let rig = Rig::new().await;
    let (v, path, snapshots) = (volume("v"), rig.path("source"), rig.path("snapshots"));
    fs::create_dir(&path).unwrap();
    fs::create_dir(&snapshots).unwrap();
    let route = Route::Local { source: LocalSource::Directory { path, snapshots: Some(snapshots) } };
    for nth in 1..MOST_AWAITS {
        if live(&rig, &v, &route, &Attachment::default(), nth).await {
            return;
        }
    }
    panic!("it never finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_converges_after_a_death_at_every_await() {
    let rig = Rig::new().await;
    for (filesystem, size) in [(Filesystem::Ext4, Bytes::mib(64)), (Filesystem::Xfs, Bytes::mib(320))] {
        let mut nth = 1;
        loop {
            let (v, route) = (volume("v"), rig.image("image", size));
            if live(&rig, &v, &route, &wanted(filesystem, size), nth).await {
                break;
            }
            nth += 1;
            assert!(nth < MOST_AWAITS, "it never finished");
            fs::remove_file(rig.path("image")).unwrap();
        }
        println!("{filesystem}: {nth} awaits");
    }
}

/// Killed by time rather than by await: wherever mkfs happens to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_format_killed_at_any_moment_is_made_again() {
    let rig = Rig::new().await;
    let size = Bytes::mib(320);
    for filesystem in Filesystem::ALL {
        for step in 0..16u64 {
            let (v, route) = (volume("v"), rig.image("image", size));
            let first = wanted(*filesystem, size);
            let limit = Duration::from_micros(step * 4000);
            let _ = tokio::time::timeout(limit, rig.host.attach(&v, &route, &first)).await;
            let attached = rig.host.attach(&v, &route, &first).await;
            assert!(attached.is_ok(), "{filesystem} killed after {limit:?}: {attached:?}");
            rig.host.forget(&v).await.unwrap();
            fs::remove_file(rig.path("image")).unwrap();
        }
    }
    rig.assert_clean();
}
