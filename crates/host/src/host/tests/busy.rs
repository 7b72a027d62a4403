use std::fs;
use std::process::{Child, Stdio};

use super::*;

/// A process that works in a directory until the test ends.
struct Worker(Child);

impl Worker {
    fn new(directory: &Path) -> Worker {
        let child = Command::new("sleep").arg("1000").current_dir(directory).stdin(Stdio::null()).spawn();
        let worker = Worker(child.unwrap());
        let name = format!("/proc/{}/comm", worker.0.id());
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while fs::read_to_string(&name).unwrap().trim() != "sleep" {
            assert!(std::time::Instant::now() < deadline, "sleep has begun within 10 s");
            std::thread::yield_now();
        }
        worker
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As a tool does between its fork and its beginning.
#[tokio::test]
async fn a_use_that_passes_is_waited_for() {
    let rig = Rig::new().await;
    let v = volume("v");
    let size = Bytes::mib(64);
    rig.host.attach(&v, &rig.image("image", size), &wanted(Filesystem::Ext4, size)).await.unwrap();
    let a = rig.host.mount(&v, "a").await.unwrap();
    let file = fs::File::create(a.join("file")).unwrap();
    let passing = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(100));
        drop(file);
    });
    assert_eq!(rig.host.unmount(&v, "a").await.unwrap(), 0);
    passing.join().unwrap();
    rig.host.detach(&v).await.unwrap();
    rig.host.forget(&v).await.unwrap();
    rig.assert_clean();
}

#[tokio::test]
async fn a_mount_in_use_stays_and_names_who_uses_it() {
    let rig = Rig::new().await;
    let v = volume("v");
    let size = Bytes::mib(64);
    rig.host.attach(&v, &rig.image("image", size), &wanted(Filesystem::Ext4, size)).await.unwrap();
    let a = rig.host.mount(&v, "a").await.unwrap();
    let worker = Worker::new(&a);
    let error = rig.host.unmount(&v, "a").await.unwrap_err().to_string();
    assert!(error.contains(&format!("sleep pid {}", worker.0.id())), "{error}");
    assert!(error.contains("working in"), "{error}");
    assert_eq!(rig.host.references(&v).unwrap().len(), 1);
    drop(worker);
    assert_eq!(rig.host.unmount(&v, "a").await.unwrap(), 0);

    let file = fs::File::create(rig.path("mounts/v/.stage/file")).unwrap();
    let error = rig.host.detach(&v).await.unwrap_err().to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())) && error.contains("open file"), "{error}");
    drop(file);
    rig.host.detach(&v).await.unwrap();
    rig.host.forget(&v).await.unwrap();
    rig.assert_clean();
}

#[tokio::test]
async fn a_device_mounted_elsewhere_is_never_torn_down() {
    let rig = Rig::new().await;
    let (v, size) = (volume("v"), Bytes::mib(64));
    rig.host.attach(&v, &rig.image("image", size), &wanted(Filesystem::Ext4, size)).await.unwrap();
    let device = rig.loops()[0].path();
    let elsewhere = rig.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    rustix::mount::mount_bind(rig.path("mounts/v/.stage"), &elsewhere).unwrap();
    let error = rig.host.detach(&v).await.unwrap_err();
    assert!(matches!(error, HostError::Busy { .. }), "{error}");
    assert!(error.to_string().contains(&format!("{}", device.display())), "{error}");
    assert!(error.to_string().contains("mounted at"), "{error}");
    fs::write(elsewhere.join("file"), "still works").unwrap();
    rustix::mount::unmount(&elsewhere, UnmountFlags::empty()).unwrap();
    rig.host.forget(&v).await.unwrap();
    rig.assert_clean();
}

#[tokio::test]
async fn a_raw_device_somebody_has_open_is_reported_and_kept_for_the_next_attach() {
    let rig = Rig::new().await;
    let (v, size) = (volume("v"), Bytes::mib(8));
    let (route, raw) = (rig.image("image", size), Attachment { size, ..Attachment::default() });
    let Attached::Device { path } = rig.host.attach(&v, &route, &raw).await.unwrap() else { panic!() };
    let user = fs::File::open(&path).unwrap();
    let error = rig.host.detach(&v).await.unwrap_err().to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    // Attached again, the device must not vanish when that user goes.
    rig.host.attach(&v, &route, &raw).await.unwrap();
    drop(user);
    assert_eq!(rig.loops().len(), 1);
    rig.host.detach(&v).await.unwrap();
    rig.assert_clean();
}

#[tokio::test]
async fn a_loop_device_that_vanished_is_told_and_attached_anew() {
    let rig = Rig::new().await;
    let (v, size) = (volume("v"), Bytes::mib(8));
    let (route, raw) = (rig.image("image", size), Attachment { size, ..Attachment::default() });
    rig.host.attach(&v, &route, &raw).await.unwrap();
    assert!(rig.loops()[0].release().unwrap());
    let error = rig.host.grow(&v, size, None).await.unwrap_err();
    assert_eq!(error.to_string(), "volume `v` is not attached on this node; attach it first");
    rig.host.attach(&v, &route, &raw).await.unwrap();
    assert_eq!(rig.loops().len(), 1);
}

#[tokio::test]
async fn a_mounted_loop_device_detached_behind_our_back_is_found_and_kept() {
    let rig = Rig::new().await;
    let (v, size) = (volume("v"), Bytes::mib(64));
    let (route, first) = (rig.image("image", size), wanted(Filesystem::Ext4, size));
    rig.host.attach(&v, &route, &first).await.unwrap();
    rig.host.mount(&v, "a").await.unwrap();
    run("losetup", &["-d", rig.loops()[0].path().to_str().unwrap()]);
    let findings = rig.host.doctor(&BTreeSet::new()).await;
    assert!(findings.iter().any(|f| f.problem.contains("behind our back")), "{findings:?}");
    rig.host.attach(&v, &route, &staged_before(&first)).await.unwrap();
    assert_eq!(rig.host.doctor(&BTreeSet::new()).await, []);
    rig.host.unmount(&v, "a").await.unwrap();
    rig.host.detach(&v).await.unwrap();
    rig.assert_clean();
}

#[tokio::test]
async fn the_doctor_finds_a_device_without_its_mount_and_a_deleted_image() {
    let rig = Rig::new().await;
    let (v, size) = (volume("v"), Bytes::mib(64));
    rig.host.attach(&v, &rig.image("image", size), &wanted(Filesystem::Ext4, size)).await.unwrap();
    fs::remove_file(rig.path("image")).unwrap();
    let findings = rig.host.doctor(&BTreeSet::new()).await;
    assert!(findings.iter().any(|f| f.problem.contains("deleted while attached")), "{findings:?}");
    rustix::mount::unmount(rig.path("mounts/v/.stage"), UnmountFlags::empty()).unwrap();
    let findings = rig.host.doctor(&BTreeSet::new()).await;
    assert!(findings.iter().any(|f| f.problem.contains("is not mounted")), "{findings:?}");
    rig.host.forget(&v).await.unwrap();
    assert_eq!(rig.host.doctor(&BTreeSet::new()).await, []);
    rig.assert_clean();
}
