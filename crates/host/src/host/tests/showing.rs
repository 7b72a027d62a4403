//! Volumes at paths that somebody else chose.

use std::fs;

use super::*;

const SIZE: Bytes = Bytes::mib(8);

fn raw() -> Attachment {
    Attachment { size: SIZE, ..Attachment::default() }
}

#[tokio::test]
async fn files_are_shown_where_they_are_wanted_and_counted() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    let (one, two) = (rig.path("pods/one"), rig.path("pods/two"));
    for _ in 0..2 {
        rig.host.show(&v, "one", &one, false, false).await.unwrap();
        rig.host.show(&v, "two", &two, true, false).await.unwrap();
    }
    fs::write(one.join("file"), "kept").unwrap();
    assert_eq!(fs::read_to_string(two.join("file")).unwrap(), "kept");
    assert_eq!(fs::write(two.join("file"), "").unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    let host = rig.restarted().await;
    assert_eq!(host.references(&v).unwrap().len(), 2);
    assert!(host.is_shown(&v, "one", &one).unwrap() && !host.is_shown(&v, "one", &rig.path("pods")).unwrap());
    assert!(matches!(host.detach(&v).await, Err(HostError::InUse { .. })));
    assert!(matches!(host.show(&v, "two", &two, false, false).await, Err(HostError::Conflict { .. })));
    for _ in 0..2 {
        assert_eq!(host.hide(&v, "one", &one).await.unwrap(), 1);
    }
    assert!(!one.exists());
    assert_eq!(host.hide(&v, "two", &two).await.unwrap(), 0);
    host.detach(&v).await.unwrap();
    rig.assert_clean();
    assert_eq!(fs::read_to_string(rig.path("source/file")).unwrap(), "kept");
}

#[tokio::test]
async fn a_raw_device_is_shown_as_a_file_and_the_doctor_is_content() {
    let rig = Rig::new().await;
    let (v, route, at) = (volume("v"), rig.image("image", SIZE), rig.path("pods/device"));
    assert!(matches!(rig.host.show(&v, "one", &at, false, false).await, Err(HostError::NotAttached(_))));
    rig.host.attach(&v, &route, &raw()).await.unwrap();
    for _ in 0..2 {
        rig.host.show(&v, "one", &at, false, false).await.unwrap();
    }
    fs::write(&at, "raw").unwrap();
    let host = rig.restarted().await;
    assert_eq!(host.doctor(&BTreeSet::new()).await, []);
    assert!(host.is_shown(&v, "one", &at).unwrap());
    assert!(matches!(host.detach(&v).await, Err(HostError::InUse { .. })));
    for _ in 0..2 {
        assert_eq!(host.hide(&v, "one", &at).await.unwrap(), 0);
    }
    assert!(!at.exists());
    host.detach(&v).await.unwrap();
    rig.assert_clean();
    assert!(fs::read(rig.path("image")).unwrap().starts_with(b"raw"));
}

#[tokio::test]
async fn a_user_that_is_to_be_alone_is_refused_beside_others() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.directory("source"));
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    let (one, two) = (rig.path("pods/one"), rig.path("pods/two"));
    for _ in 0..2 {
        rig.host.show(&v, "one", &one, false, true).await.unwrap();
    }
    let refused = rig.host.show(&v, "two", &two, false, true).await;
    assert!(matches!(refused, Err(HostError::InUse { references, .. }) if references.contains("one")));
    assert!(!two.exists());
    rig.host.hide(&v, "one", &one).await.unwrap();
    rig.host.show(&v, "two", &two, false, true).await.unwrap();
    rig.host.hide(&v, "two", &two).await.unwrap();
    rig.host.detach(&v).await.unwrap();
    rig.assert_clean();
}

#[tokio::test]
async fn what_is_somebody_elses_at_a_target_stays_as_it_is() {
    let rig = Rig::new().await;
    let (v, w) = (volume("v"), volume("w"));
    for (volume, source) in [(&v, "source"), (&w, "other")] {
        rig.host.attach(volume, &rig.directory(source), &Attachment::default()).await.unwrap();
    }
    let at = rig.path("pods/at");
    rig.host.show(&w, "one", &at, false, false).await.unwrap();
    let refused = rig.host.show(&v, "one", &at, false, false).await.unwrap_err();
    assert!(matches!(&refused, HostError::Conflict { .. }), "{refused}");
    assert!(rig.host.references(&v).unwrap().is_empty(), "a use that did not begin does not count");
    // A path with a link in it is the path behind it.
    std::os::unix::fs::symlink(rig.path("pods"), rig.path("link")).unwrap();
    rig.host.show(&w, "one", &rig.path("link/at"), false, false).await.unwrap();
    assert!(rig.host.is_shown(&w, "one", &rig.path("link/at")).unwrap());
    rig.host.hide(&w, "one", &rig.path("link/at")).await.unwrap();
    assert!(!at.exists());
    // What somebody put at a path of ours is not thrown away.
    fs::create_dir_all(&at).unwrap();
    fs::write(at.join("precious"), "").unwrap();
    assert!(rig.host.hide(&w, "one", &at).await.is_err());
    assert!(at.join("precious").exists());
    for bad in ["relative", "/", "/a/../b"] {
        let refused = rig.host.show(&w, "one", Path::new(bad), false, false).await.unwrap_err();
        assert!(refused.to_string().contains("is not a full path"), "{bad}: {refused}");
    }
    for volume in [&v, &w] {
        rig.host.detach(volume).await.unwrap();
    }
    rig.assert_clean();
}

#[tokio::test]
async fn a_volume_is_given_to_a_group_without_what_its_links_lead_to() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    const GROUP: u32 = 4242;
    let rig = Rig::new().await;
    let (v, route, data) = (volume("v"), rig.directory("data"), rig.path("data"));
    assert!(matches!(rig.host.give(&v, GROUP).await, Err(HostError::NotAttached(_))));
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
    fs::create_dir_all(data.join("a/b")).unwrap();
    fs::write(data.join("a/b/file"), "kept").unwrap();
    fs::set_permissions(data.join("a/b/file"), fs::Permissions::from_mode(0o4600)).unwrap();
    fs::write(rig.path("outside"), "").unwrap();
    symlink(rig.path("outside"), data.join("a/link")).unwrap();
    symlink("..", data.join("a/b/up")).unwrap();
    let no_text = data.join("a").join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::write(&no_text, "").unwrap();
    rig.host.give(&v, GROUP).await.unwrap();
    for (path, mode) in [("", 0o2770), ("a", 0o2770), ("a/b", 0o2770), ("a/b/file", 0o4660)] {
        let found = fs::metadata(data.join(path)).unwrap();
        assert_eq!(found.gid(), GROUP, "{path}");
        assert_eq!(found.mode() & mode, mode, "{path}: {:o}", found.mode());
    }
    assert_eq!(fs::metadata(no_text).unwrap().gid(), GROUP);
    assert_eq!(fs::symlink_metadata(data.join("a/link")).unwrap().gid(), GROUP);
    assert_ne!(fs::metadata(rig.path("outside")).unwrap().gid(), GROUP);
    // What is made now has the group; and who has it already is not looked through again.
    fs::write(data.join("a/new"), "").unwrap();
    assert_eq!(fs::metadata(data.join("a/new")).unwrap().gid(), GROUP);
    std::os::unix::fs::chown(data.join("a/new"), None, Some(0)).unwrap();
    rig.host.give(&v, GROUP).await.unwrap();
    assert_eq!(fs::metadata(data.join("a/new")).unwrap().gid(), 0);
    rig.host.detach(&v).await.unwrap();
}
