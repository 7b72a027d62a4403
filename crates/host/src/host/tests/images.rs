use std::fs;

use super::*;

const SIZE: Bytes = Bytes::mib(320);

#[tokio::test]
async fn every_filesystem_is_made_once_and_keeps_its_files() {
    let rig = Rig::new().await;
    for filesystem in Filesystem::ALL {
        let v = volume(filesystem.as_str());
        let route = rig.image(filesystem.as_str(), SIZE);
        let first = wanted(*filesystem, SIZE);
        let attached = rig.host.attach(&v, &route, &first).await.unwrap();
        assert!(matches!(attached, Attached::Directory { formatted: true, .. }), "{filesystem}");
        // The caller died before it recorded that: asked again, nothing is formatted.
        rig.host.detach(&v).await.unwrap();
        let attached = rig.host.attach(&v, &route, &first).await.unwrap();
        assert!(matches!(attached, Attached::Directory { formatted: false, .. }), "{filesystem}");
        let a = rig.host.mount(&v, "a").await.unwrap();
        fs::write(a.join("file"), "kept").unwrap();
        assert_eq!(rig.loops().len(), 1, "{filesystem}");
        assert_eq!(rig.host.doctor(&BTreeSet::new()).await, []);
        let usage = rig.host.usage(&v).await.unwrap();
        assert!(usage.total <= SIZE && usage.total > Bytes::mib(150), "{filesystem}: {usage:?}");
        rig.host.unmount(&v, "a").await.unwrap();
        rig.host.detach(&v).await.unwrap();
        rig.assert_clean();

        let error = rig.host.attach(&v, &route, &first).await.unwrap_err();
        assert!(
            matches!(error, HostError::Refused { .. }),
            "a mounted volume must have been recorded: {error}"
        );
        rig.host.attach(&v, &route, &staged_before(&first)).await.unwrap();
        let b = rig.host.mount(&v, "b").await.unwrap();
        assert_eq!(fs::read_to_string(b.join("file")).unwrap(), "kept", "{filesystem}");
        rig.host.unmount(&v, "b").await.unwrap();
        rig.host.detach(&v).await.unwrap();
        rig.assert_clean();
    }
}

#[tokio::test]
async fn a_raw_device_is_attached_but_not_mounted() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", Bytes::mib(8)));
    let raw = Attachment { size: Bytes::mib(8), ..Attachment::default() };
    let Attached::Device { path } = rig.host.attach(&v, &route, &raw).await.unwrap() else { panic!() };
    fs::write(&path, "raw").unwrap();
    let error = rig.host.mount(&v, "a").await.unwrap_err();
    assert!(error.to_string().contains("raw device"), "{error}");
    let error = rig.host.attach(&v, &route, &wanted(Filesystem::Ext4, Bytes::mib(8))).await.unwrap_err();
    assert!(matches!(error, HostError::Conflict { .. }), "{error}");
    assert_eq!(rig.host.doctor(&BTreeSet::new()).await, []);
    rig.host.detach(&v).await.unwrap();
    rig.assert_clean();
    assert!(fs::read(rig.path("image")).unwrap().starts_with(b"raw"), "flushed before it was detached");
}

#[tokio::test(flavor = "multi_thread")]
async fn attaches_that_race_make_one_loop_device() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", Bytes::mib(64)));
    let first = wanted(Filesystem::Ext4, Bytes::mib(64));
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let (host, v, route, first) = (rig.host.clone(), v.clone(), route.clone(), first.clone());
            tokio::spawn(async move { host.attach(&v, &route, &first).await })
        })
        .collect();
    let mut formatted = 0;
    for racer in racers {
        let attached = racer.await.unwrap().unwrap();
        formatted += usize::from(matches!(attached, Attached::Directory { formatted: true, .. }));
    }
    assert_eq!((formatted, rig.loops().len()), (1, 1));
}

/// A freed loop device is another volume's at once: that must not look as if it had stayed.
#[tokio::test(flavor = "multi_thread")]
async fn volumes_that_come_and_go_side_by_side_do_not_mistake_each_others_devices() {
    let rig = Rig::new().await;
    let raw = Attachment { size: Bytes::mib(8), ..Attachment::default() };
    let volumes: Vec<_> = (0..8)
        .map(|n| {
            let (host, raw) = (rig.host.clone(), raw.clone());
            let (v, route) = (volume(&format!("v{n}")), rig.image(&format!("image{n}"), Bytes::mib(8)));
            tokio::spawn(async move {
                for _ in 0..25 {
                    host.attach(&v, &route, &raw).await.unwrap();
                    host.detach(&v).await.unwrap();
                }
            })
        })
        .collect();
    for volume in volumes {
        volume.await.unwrap();
    }
    rig.assert_clean();
}

/// Two processes share no lock; each round is a race of two hosts for one image.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_no_lock_end_with_one_loop_device_too() {
    let rig = Rig::new().await;
    let other = rig.restarted().await;
    let (v, route) = (volume("v"), rig.image("image", Bytes::mib(8)));
    let raw = Attachment { size: Bytes::mib(8), ..Attachment::default() };
    for round in 0..20 {
        let (one, two) = tokio::join!(rig.host.attach(&v, &route, &raw), other.attach(&v, &route, &raw));
        assert!(one.is_ok() || two.is_ok(), "round {round}: {one:?} {two:?}");
        rig.host.attach(&v, &route, &raw).await.unwrap();
        assert_eq!(rig.loops().len(), 1, "round {round}");
        rig.host.detach(&v).await.unwrap();
    }
    rig.assert_clean();
}

#[tokio::test]
async fn an_image_that_somebody_else_attached_is_left_alone() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", Bytes::mib(8)));
    let raw = Attachment { size: Bytes::mib(8), ..Attachment::default() };
    run("losetup", &["-f", rig.path("image").to_str().unwrap()]);
    let error = rig.host.attach(&v, &route, &raw).await.unwrap_err();
    assert!(error.to_string().contains("`losetup -d /dev/loop"), "{error}");
    assert_eq!(rig.loops().len(), 1);
    rig.loops()[0].release().unwrap();
    rig.host.attach(&v, &route, &raw).await.unwrap();
    let error = rig.host.attach(&volume("w"), &route, &raw).await.unwrap_err();
    assert!(matches!(error, HostError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn another_size_than_recorded_is_refused() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", Bytes::mib(64)));
    for size in [Bytes::mib(63), Bytes::mib(65)] {
        let error = rig.host.attach(&v, &route, &wanted(Filesystem::Ext4, size)).await.unwrap_err();
        assert!(matches!(error, HostError::Size { .. }), "{error}");
    }
    rig.assert_clean();
}

#[tokio::test]
async fn a_size_no_device_can_have_is_refused() {
    let rig = Rig::new().await;
    let odd = SIZE + Bytes::new(1);
    let (v, route) = (volume("v"), rig.image("image", odd));
    let error =
        rig.host.attach(&v, &route, &Attachment { size: odd, ..Attachment::default() }).await.unwrap_err();
    assert!(error.to_string().contains("a multiple of 512"), "{error}");
    rig.assert_clean();
    let sectors = SIZE + Bytes::new(512);
    let route = rig.image("image", sectors);
    rig.host.attach(&v, &route, &wanted(Filesystem::Ext4, sectors)).await.unwrap();
    assert_eq!(rig.loops()[0].size().unwrap(), sectors);
}

#[tokio::test]
async fn a_filesystem_larger_than_its_device_is_refused() {
    let rig = Rig::new().await;
    for filesystem in Filesystem::ALL {
        let (v, route) = (volume(filesystem.as_str()), rig.image("image", SIZE));
        run(&format!("mkfs.{filesystem}"), &["-q", rig.path("image").to_str().unwrap()]);
        let smaller = SIZE - Bytes::mib(64);
        fs::File::options().write(true).open(rig.path("image")).unwrap().set_len(smaller.get()).unwrap();
        let before = hash(&rig.path("image"));
        let error =
            rig.host.attach(&v, &route, &staged_before(&wanted(*filesystem, smaller))).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("its end is cut off"), "{filesystem}: {text}");
        assert_eq!(hash(&rig.path("image")), before);
        rig.assert_clean();
    }
}

#[tokio::test]
async fn clones_are_mounted_beside_their_source_where_the_filesystem_allows_it() {
    let rig = Rig::new().await;
    for filesystem in Filesystem::ALL {
        let route = rig.image(&format!("{filesystem}.source"), SIZE);
        let (source, clone) =
            (volume(&format!("{filesystem}-source")), volume(&format!("{filesystem}-clone")));
        rig.host.attach(&source, &route, &wanted(*filesystem, SIZE)).await.unwrap();
        let a = rig.host.mount(&source, "a").await.unwrap();
        fs::write(a.join("file"), "kept").unwrap();
        rustix::fs::syncfs(fs::File::open(&a).unwrap()).unwrap();
        let path = rig.path(&format!("{filesystem}.clone"));
        run(
            "cp",
            &[
                "--sparse=always",
                rig.path(&format!("{filesystem}.source")).to_str().unwrap(),
                path.to_str().unwrap(),
            ],
        );
        let route = Route::Local { source: LocalSource::Image { path } };
        let wanted = Attachment { may_hold_data: true, ..wanted(*filesystem, SIZE) };
        let attached = rig.host.attach(&clone, &route, &wanted).await;
        if *filesystem == Filesystem::Btrfs {
            let error = attached.unwrap_err().to_string();
            assert!(error.contains("btrfstune -u"), "{error}");
            rig.host.unmount(&source, "a").await.unwrap();
            rig.host.detach(&source).await.unwrap();
            rig.host.attach(&clone, &route, &wanted).await.unwrap();
        } else {
            assert!(matches!(attached.unwrap(), Attached::Directory { formatted: false, .. }));
        }
        let b = rig.host.mount(&clone, "b").await.unwrap();
        assert_eq!(fs::read_to_string(b.join("file")).unwrap(), "kept", "{filesystem}");
    }
}

#[tokio::test]
async fn a_read_only_image_is_not_written_and_not_formatted() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", Bytes::mib(64)));
    let first = wanted(Filesystem::Ext4, Bytes::mib(64));
    let read_only = Attachment { read_only: true, ..first.clone() };
    let error = rig.host.attach(&v, &route, &read_only).await.unwrap_err();
    assert!(error.to_string().contains("read-only volume is not formatted"), "{error}");
    rig.assert_clean();
    rig.host.attach(&v, &route, &first).await.unwrap();
    rig.host.detach(&v).await.unwrap();
    let before = hash(&rig.path("image"));
    rig.host.attach(&v, &route, &staged_before(&read_only)).await.unwrap();
    let a = rig.host.mount(&v, "a").await.unwrap();
    assert_eq!(fs::write(a.join("x"), "").unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    let error = rig.host.attach(&v, &route, &staged_before(&first)).await.unwrap_err();
    assert!(matches!(error, HostError::Conflict { .. }), "{error}");
    rig.host.unmount(&v, "a").await.unwrap();
    rig.host.detach(&v).await.unwrap();
    assert_eq!(hash(&rig.path("image")), before);
}

#[tokio::test]
async fn an_option_the_filesystem_does_not_know_is_told_in_its_own_words() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", Bytes::mib(64)));
    let strange = Attachment {
        mount_options: vec!["noatime,nosuchoption=7".to_owned()],
        ..wanted(Filesystem::Ext4, Bytes::mib(64))
    };
    let before = hash(&rig.path("image"));
    let error = rig.host.attach(&v, &route, &strange).await.unwrap_err();
    assert!(
        matches!(error, HostError::Invalid { .. }) && error.to_string().contains("nosuchoption"),
        "{error}"
    );
    assert_eq!(hash(&rig.path("image")), before, "nothing is formatted for a mount that cannot be");
    rig.assert_clean();
    rig.host.attach(&v, &route, &wanted(Filesystem::Ext4, Bytes::mib(64))).await.unwrap();
}

#[test]
fn a_filesystem_that_the_kernel_does_not_have_is_named_with_its_module() {
    let none = crate::mount::Options::parse(&[], false).unwrap();
    let error = crate::mount::check("nosuchfs", &none).unwrap_err().to_string();
    assert!(error.contains("modprobe nosuchfs"), "{error}");
}

#[tokio::test]
async fn an_image_of_small_blocks_is_imported_with_them() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", SIZE));
    run("mkfs.xfs", &["-q", "-s", "size=512", rig.path("image").to_str().unwrap()]);
    let import = Attachment { may_hold_data: true, ..wanted(Filesystem::Xfs, SIZE) };
    rig.host.attach(&v, &route, &import).await.unwrap();
    rig.host.mount(&v, "a").await.unwrap();
}

#[tokio::test]
async fn a_missing_image_says_so() {
    let rig = Rig::new().await;
    let route = Route::Local { source: LocalSource::Image { path: rig.path("absent") } };
    let error = rig.host.attach(&volume("v"), &route, &wanted(Filesystem::Ext4, SIZE)).await.unwrap_err();
    assert!(matches!(error, HostError::Missing { .. }), "{error}");
    let route = Route::Local { source: LocalSource::Image { path: "/dev".into() } };
    assert!(rig.host.attach(&volume("v"), &route, &wanted(Filesystem::Ext4, SIZE)).await.is_err());
}
