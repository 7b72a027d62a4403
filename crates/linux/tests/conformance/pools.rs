//! What is this family's own: one node, virtual pools, options, pools that are not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use driver::conformance::Fixture;
use driver::{CloneVolume, CreateVolume, Driver, ErrorKind};
use model::{
    Attribute, Bytes, InstanceId, Layout, LocalSource, NodeIdentity, NodeName, Offer, Permit, PoolName,
    Provisioning, SnapshotName, VolumeId, VolumeOption,
};

use crate::host::{Host, source, spec};

fn request(driver: &dyn Driver, name: &str, pool: &str) -> CreateVolume {
    let volume = VolumeId::new(name).unwrap();
    CreateVolume {
        handle: driver.handle(&volume).unwrap(),
        volume,
        pool: PoolName::new(pool).unwrap(),
        spec: spec(Layout::File, Bytes::mib(16)),
    }
}

#[tokio::test]
async fn a_volume_is_reached_from_its_own_host_only() {
    let host = Host::new(Layout::File).await;
    let driver = host.driver();
    let request = request(driver.as_ref(), "v", "pool");
    driver.create(&request).await.unwrap();
    let other = NodeIdentity::named(NodeName::new("other-host").unwrap());
    let error = driver.permit(&request.handle, &Permit::shared(other.clone())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("local to node `this-host`; node `other-host` cannot reach"),
        "{error}"
    );
    assert!(driver.observe(&request.handle).await.unwrap().unwrap().permitted.is_empty());
    assert!(!driver.forbid(&request.handle, &other).await.unwrap().is_changed());
}

#[tokio::test]
async fn virtual_pools_are_shown_alone_and_volumes_remember_theirs() {
    let host = Host::new(Layout::File).await;
    host.close();
    let file = host.file(
        "backendName: gold\nmedia: ssd\nlabels: {site: a}\nlimitVolumeSize: 1Gi\nregion: north\n\
         storage: [{labels: {tier: one}}, {labels: {tier: two}, defaults: {size: 64Mi}}]\n",
    );
    let driver = host.open(&file).await.unwrap();
    let pools = driver.pools().await.unwrap();
    let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["gold_pool_0", "gold_pool_1"]);
    assert_eq!((pools[1].labels["tier"].as_str(), pools[1].default_size), ("two", Bytes::mib(64)));
    assert_eq!(pools[0].offers[&Attribute::Media], Offer::words(["ssd"]));
    assert_eq!(pools[0].largest, Some(Bytes::gib(1)));
    assert!(pools[0].capacity.total > Bytes::gib(1));
    let request = request(driver.as_ref(), "v", "gold_pool_1");
    driver.create(&request).await.unwrap();
    assert_eq!(driver.observe(&request.handle).await.unwrap().unwrap().pool.as_str(), "gold_pool_1");
    let absent = self::request(driver.as_ref(), "w", "pool");
    assert_eq!(driver.create(&absent).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn the_pool_keeps_what_a_volume_was_made_as() {
    let host = Host::new(Layout::Block).await;
    let driver = host.driver();
    let mut request = request(driver.as_ref(), "v", "pool");
    request.spec.layout = Layout::Block;
    request.spec.filesystem = Some(model::Filesystem::Xfs);
    request.spec.labels.insert("app".to_owned(), "db".to_owned());
    driver.create(&request).await.unwrap();
    drop(driver);
    host.close();
    let reopened = host.open(&host.file("")).await.unwrap();
    let seen = reopened.observe(&request.handle).await.unwrap().unwrap();
    assert_eq!(seen.made_as.as_deref(), Some(&request.spec));
}

#[tokio::test]
async fn options_set_the_mode_and_show_the_snapshots() {
    let host = Host::new(Layout::File).await;
    let driver = host.driver();
    let mut request = request(driver.as_ref(), "v", "pool");
    request.spec.options.insert(VolumeOption::UnixPermissions, "---rwxrws---".to_owned());
    let error = driver.create(&request).await.unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.to_string().contains("write it octal"), "{error}");
    request.spec.options.insert(VolumeOption::UnixPermissions, "0770".to_owned());
    request.spec.options.insert(VolumeOption::SnapshotDir, "true".to_owned());
    driver.create(&request).await.unwrap();
    let route =
        driver.permit(&request.handle, &Permit::shared(host.nodes()[0].clone())).await.unwrap().into_inner();
    let LocalSource::Directory { path, snapshots: Some(snapshots) } = source(&route) else {
        panic!("{route:?}")
    };
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o770);
    host.write(&route, 3).await;
    let name = SnapshotName::new("s").unwrap();
    driver.snapshots().unwrap().take(&request.handle, &name).await.unwrap();
    host.write(&route, 4).await;
    let inside = fs::read_dir(snapshots).unwrap().next().unwrap().unwrap();
    assert_eq!(inside.file_name().to_str(), Some("s"));

    request.spec.options.insert(VolumeOption::ExportPolicy, "x".to_owned());
    assert_eq!(driver.create(&request).await.unwrap_err().kind, ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_thick_volume_takes_its_space_from_what_is_free() {
    let host = Host::new(Layout::Block).await;
    let driver = host.driver();
    let before = driver.pools().await.unwrap()[0].capacity;
    let mut request = request(driver.as_ref(), "v", "pool");
    request.spec.provisioning = Provisioning::Thick;
    request.spec.size = Bytes::mib(512);
    driver.create(&request).await.unwrap();
    let after = driver.pools().await.unwrap()[0].capacity;
    assert!(after.free_thick + Bytes::mib(512) <= before.free_thick, "{before:?} {after:?}");
    assert!(after.free_thin < before.free_thin, "{before:?} {after:?}");
    assert_eq!(driver.observe(&request.handle).await.unwrap().unwrap().provisioning, Provisioning::Thick);

    let mut clone = self::request(driver.as_ref(), "w", "pool");
    clone.spec.size = Bytes::mib(512);
    let clone = CloneVolume { create: clone, source: request.handle.clone(), snapshot: None };
    driver.snapshots().unwrap().clones().unwrap().clone_volume(&clone).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_too_long_for_the_pool_is_refused() {
    let host = Host::new(Layout::File).await;
    let error = host.driver().handle(&VolumeId::new("v".repeat(195)).unwrap()).unwrap_err();
    assert!(
        error.kind == ErrorKind::Invalid && error.to_string().contains("at most 192 characters"),
        "{error}"
    );
}

#[tokio::test]
async fn a_second_instance_on_the_pool_is_refused() {
    let host = Host::new(Layout::File).await;
    let (instance, node) = (InstanceId::new("second").unwrap(), host.nodes().remove(0).name);
    let error = linux::open(&host.file(""), instance, node).await.unwrap_err();
    assert!(
        error.kind == ErrorKind::Conflict && error.to_string().contains("is in use by process"),
        "{error}"
    );
}

#[tokio::test]
async fn a_changed_backend_opens_beside_the_old_one() {
    let host = Host::new(Layout::File).await;
    let old = host.driver();
    let new = host.open(&host.file("labels: {tier: gold}\n")).await.unwrap();
    assert_eq!(new.pools().await.unwrap()[0].labels["tier"], "gold");
    let request = request(old.as_ref(), "v", "pool");
    old.create(&request).await.unwrap();
    assert!(!new.create(&request).await.unwrap().is_changed());
}

#[tokio::test]
async fn a_pool_that_has_vanished_is_not_made_anew() {
    let host = Host::new(Layout::File).await;
    host.close();
    host.unmount();
    let image = host.pool().with_added_extension("img");
    let away = image.with_added_extension("away");
    fs::rename(&image, &away).unwrap();
    let error = host.open(&host.file("")).await.unwrap_err();
    assert!(error.kind == ErrorKind::NotFound && error.to_string().contains("bring it back"), "{error}");
    fs::rename(&away, &image).unwrap();
    host.reopen().await;
}

#[tokio::test]
async fn a_pool_that_has_gone_blank_is_not_formatted_again() {
    let host = Host::new(Layout::File).await;
    host.close();
    host.unmount();
    let image = host.pool().with_added_extension("img");
    let size = fs::metadata(&image).unwrap().len();
    fs::File::create(&image).unwrap().set_len(size).unwrap();
    host.open(&host.file("")).await.unwrap_err();
    let content = fs::read(&image).unwrap();
    assert!(content.len() as u64 == size && content.iter().all(|byte| *byte == 0), "nothing was written");
}

#[tokio::test]
async fn a_mistake_in_the_file_is_the_cause_of_the_refusal() {
    let host = Host::new(Layout::File).await;
    let error = host.open(&host.file("mdia: ssd\n")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "test.yaml: `mdia`: unknown key; did you mean `media`?");
}
