use std::fs;

use rustix::mount::MountPropagationFlags;

use super::*;

fn with_snapshots(rig: &Rig) -> Route {
    let (path, snapshots) = (rig.path("source"), rig.path("snapshots"));
    fs::create_dir_all(&path).unwrap();
    fs::create_dir_all(snapshots.join("monday")).unwrap();
    Route::Local { source: LocalSource::Directory { path, snapshots: Some(snapshots) } }
}

#[tokio::test]
async fn a_directory_is_mounted_once_for_each_reference_and_counted_after_a_restart() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    for _ in 0..2 {
        rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    }
    let first = rig.host.mount(&v, "first").await.unwrap();
    for _ in 0..2 {
        let second = rig.host.mount(&v, "second").await.unwrap();
        fs::write(second.join("file"), "kept").unwrap();
    }
    assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "kept");
    assert_eq!(Table::read().unwrap().below(&rig.path("mounts")).count(), 3);

    let host = rig.restarted().await;
    let both: BTreeSet<String> = ["first".to_owned(), "second".to_owned()].into();
    assert_eq!(host.references(&v).unwrap(), both);
    assert_eq!(host.mounted().unwrap(), [(v.clone(), both)].into());
    assert!(
        matches!(host.detach(&v).await, Err(HostError::InUse { references, .. }) if references.len() == 2)
    );
    assert_eq!(host.doctor(&BTreeSet::new()).await, []);
    assert_eq!(host.unmount(&v, "first").await.unwrap(), 1);
    assert_eq!(host.unmount(&v, "first").await.unwrap(), 1);
    assert_eq!(host.unmount(&v, "second").await.unwrap(), 0);
    assert_eq!(host.mounted().unwrap(), [(v.clone(), BTreeSet::new())].into());
    for _ in 0..2 {
        host.detach(&v).await.unwrap();
    }
    rig.assert_clean();
    assert_eq!(fs::read_to_string(rig.path("source/file")).unwrap(), "kept");
}

#[tokio::test]
async fn snapshots_are_shown_read_only_and_go_first() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), with_snapshots(&rig));
    for _ in 0..2 {
        rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    }
    let (a, b) = (rig.host.mount(&v, "a").await.unwrap(), rig.host.mount(&v, "b").await.unwrap());
    for point in [&a, &b] {
        assert!(point.join(".snapshot/monday").is_dir());
        let error = fs::write(point.join(".snapshot/monday/x"), "").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
        fs::write(point.join("x"), "").unwrap();
    }
    assert_eq!(rig.host.unmount(&v, "a").await.unwrap(), 1);
    assert!(b.join(".snapshot/monday").is_dir());
    assert_eq!(rig.host.unmount(&v, "b").await.unwrap(), 0);
    rig.host.detach(&v).await.unwrap();
    rig.assert_clean();
}

/// As under systemd, where everything is shared unless told otherwise.
#[tokio::test]
async fn ending_one_reference_reaches_no_other_where_mounts_are_shared() {
    let rig = Rig::new().await;
    let root = rig.path("mounts");
    rustix::mount::mount_bind(&root, &root).unwrap();
    rustix::mount::mount_change(&root, MountPropagationFlags::SHARED).unwrap();
    let (v, route) = (volume("v"), with_snapshots(&rig));
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    let a = rig.host.mount(&v, "a").await.unwrap();
    rig.host.mount(&v, "b").await.unwrap();
    assert_eq!(rig.host.unmount(&v, "b").await.unwrap(), 1);
    assert!(a.join(".snapshot/monday").is_dir());
    assert!(root.join("v/.stage/.snapshot/monday").is_dir());
    rig.host.unmount(&v, "a").await.unwrap();
    rig.host.detach(&v).await.unwrap();
    rustix::mount::unmount(&root, UnmountFlags::empty()).unwrap();
    rig.assert_clean();
}

#[tokio::test]
async fn a_snapshot_entry_that_leads_elsewhere_is_not_followed() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), with_snapshots(&rig));
    let victim = rig.path("victim");
    fs::create_dir(&victim).unwrap();
    std::os::unix::fs::symlink(&victim, rig.path("source/.snapshot")).unwrap();
    let error = rig.host.attach(&v, &route, &Attachment::default()).await.unwrap_err();
    assert!(error.to_string().contains("not a directory"), "{error}");
    assert!(Table::read().unwrap().at(&victim).is_none());
}

#[tokio::test]
async fn a_read_only_directory_cannot_be_written_nor_turned_while_attached() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    let read_only = Attachment { read_only: true, ..Attachment::default() };
    rig.host.attach(&v, &route, &read_only).await.unwrap();
    let a = rig.host.mount(&v, "a").await.unwrap();
    assert_eq!(fs::write(a.join("x"), "").unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    let error = rig.host.attach(&v, &route, &Attachment::default()).await.unwrap_err();
    assert!(matches!(error, HostError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn mount_options_of_a_directory_are_those_of_a_mount() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    let with = |o: &str| Attachment { mount_options: vec![o.to_owned()], ..Attachment::default() };
    let error = rig.host.attach(&v, &route, &with("discard")).await.unwrap_err();
    assert!(error.to_string().contains("`discard` does not apply"), "{error}");
    rig.host.attach(&v, &route, &with("noatime,nosuid")).await.unwrap();
    let a = rig.host.mount(&v, "a").await.unwrap();
    let options = Table::read().unwrap().at(&a).unwrap().options.clone();
    assert!(options.contains("noatime") && options.contains("nosuid"), "{options}");
}

#[tokio::test]
async fn a_directory_that_was_replaced_is_staged_anew_unless_it_is_in_use() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    rig.host.mount(&v, "a").await.unwrap();
    fs::rename(rig.path("source"), rig.path("old")).unwrap();
    let error = rig.host.attach(&v, &route, &Attachment::default()).await.unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    fs::create_dir(rig.path("source")).unwrap();
    fs::write(rig.path("source/new"), "").unwrap();
    let error = rig.host.attach(&v, &route, &Attachment::default()).await.unwrap_err();
    assert!(matches!(error, HostError::InUse { .. }), "{error}");
    rig.host.unmount(&v, "a").await.unwrap();
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    assert!(rig.host.mount(&v, "b").await.unwrap().join("new").exists());
}

#[tokio::test]
async fn the_mode_is_set_until_the_volume_was_staged_and_never_after() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    let mode = || fs::metadata(rig.path("source")).unwrap().permissions().mode() & 0o7777;
    let first = Attachment { permissions: Some(0o770), ..Attachment::default() };
    rig.host.attach(&v, &route, &first).await.unwrap();
    assert_eq!(mode(), 0o770);
    fs::set_permissions(rig.path("source"), fs::Permissions::from_mode(0o1777)).unwrap();
    rig.host.attach(&v, &route, &staged_before(&first)).await.unwrap();
    assert_eq!(mode(), 0o1777);
}

#[tokio::test]
async fn empty_directories_of_a_crash_are_removed_and_others_are_found() {
    let rig = Rig::new().await;
    fs::create_dir_all(rig.path("mounts/gone/.stage")).unwrap();
    fs::create_dir_all(rig.path("mounts/gone/a")).unwrap();
    fs::create_dir_all(rig.path("mounts/stray/a")).unwrap();
    fs::write(rig.path("mounts/stray/a/file"), "precious").unwrap();
    let host = rig.restarted().await;
    assert!(!rig.path("mounts/gone").exists());
    assert_eq!(fs::read_to_string(rig.path("mounts/stray/a/file")).unwrap(), "precious");
    let findings = host.doctor(&BTreeSet::new()).await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].volume, Some(volume("stray")));
}

#[tokio::test]
async fn the_doctor_finds_a_deleted_source_and_a_lost_stage() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    rig.host.mount(&v, "a").await.unwrap();
    fs::remove_dir(rig.path("source")).unwrap();
    let findings = rig.host.doctor(&BTreeSet::new()).await;
    assert!(findings.iter().any(|f| f.problem.contains("deleted")), "{findings:?}");
    rustix::mount::unmount(rig.path("mounts/v/.stage"), UnmountFlags::empty()).unwrap();
    let findings = rig.host.doctor(&BTreeSet::new()).await;
    assert!(findings.iter().any(|f| f.problem.contains("stage is not mounted")), "{findings:?}");
}

#[tokio::test]
async fn usage_is_that_of_the_filesystem() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    let usage = rig.host.usage(&v).await.unwrap();
    assert!(usage.total >= usage.available && usage.used < usage.total && usage.inodes > 0, "{usage:?}");
}
