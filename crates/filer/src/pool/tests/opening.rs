//! Who may open a pool, from what, and what stands in the way.

use super::*;

#[test]
fn a_second_opener_is_refused_and_told_who_has_it() {
    let Some(rig) = Rig::new() else { return };
    let pid = std::process::id().to_string();
    refused(Pool::open(&rig.spec), ErrorKind::Conflict, &["in use by process", &pid]);
    let other = PoolSpec::mounted(&rig.spec.path, "them");
    refused(Pool::open(&other), ErrorKind::Conflict, &["in use by process", &pid]);
}

#[test]
fn a_second_pool_on_one_file_system_is_refused() {
    let Some(mut rig) = Rig::new() else { return };
    fs::create_dir(rig.inside("other")).unwrap();
    let other = PoolSpec::mounted(rig.inside("other"), "them");
    refused(Pool::open(&other), ErrorKind::Conflict, &["another pool", "of its own"]);
    rig.pool = None;
    drop(Pool::open(&other).unwrap());
    rig.reopen();
}

#[test]
fn a_pools_image_is_made_for_root_alone_over_what_an_earlier_try_left() {
    let Some(rig) = Rig::on_btrfs() else { return };
    let mut spec = rig.spec.clone();
    spec.path = rig.dir.path().join("second");
    let image = spec.image.as_mut().unwrap();
    image.path = rig.dir.path().join("second.img");
    let (victim, making) = (rig.dir.path().join("victim"), rig.dir.path().join("second.img.making"));
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &making).unwrap();
    Pool::make(&spec).unwrap().close().unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(rig.dir.path().join("second.img")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_image_that_lost_its_loop_device_is_attached_again_once() {
    let Some(mut rig) = Rig::on_btrfs() else { return };
    let image = rig.dir.path().join("pool.img");
    rig.pool().create(&volume("v", 64)).unwrap();
    rig.pool = None;
    assert_eq!(loops_of(&image), 1, "the pool stays mounted for its containers");
    rig.pool = Some(Pool::make(&rig.spec).unwrap());
    assert_eq!(loops_of(&image), 1);
    rig.pool = None;
    unmount(&rig.spec.path, UnmountFlags::empty()).unwrap();
    until("the loop device to let go", || loops_of(&image) == 0);
    rig.pool = Some(Pool::open(&rig.spec).unwrap());
    assert_eq!(loops_of(&image), 1);
    assert!(rig.pool().find("v").unwrap().is_some());
    unmount(&rig.spec.path, UnmountFlags::DETACH).unwrap();
    refused(rig.pool().create(&volume("w", 64)), ErrorKind::NotFound, &["no longer mounted"]);
}

#[test]
fn an_image_that_was_attached_in_another_mount_namespace_is_known_again() {
    let Some(mut rig) = Rig::on_btrfs() else { return };
    let (dir, image) = (rig.dir.path().to_owned(), rig.dir.path().join("pool.img"));
    rig.pool().create(&volume("v", 64)).unwrap();
    rig.pool = None;
    unmount(&rig.spec.path, UnmountFlags::empty()).unwrap();
    until("the loop device to let go", || loops_of(&image) == 0);
    // As a container does that has since ended: the kernel names what is left of its path.
    let script = "mkdir seen && mount --bind . seen && losetup --find --show seen/pool.img";
    let mut there = Command::new("unshare");
    let said = there.args(["--mount", "sh", "-ec", script]).current_dir(&dir).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let device = String::from_utf8(said.stdout).unwrap();
    assert_ne!(crate::pool::mounts::backing(device.trim()).unwrap(), image);
    rig.pool = Some(Pool::open(&rig.spec).unwrap());
    assert_eq!(loops_of(&image), 1, "it is not attached twice");
    rig.pool = None;
    rig.pool = Some(Pool::open(&rig.spec).unwrap());
    assert!(rig.pool().find("v").unwrap().is_some());
    rig.pool.take().unwrap().close().unwrap();
    assert_eq!(loops_of(&image), 0);
    rig.reopen();
}

#[test]
fn wrong_places_for_a_pool_are_refused_with_advice() {
    let Some(rig) = Rig::on_btrfs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let image = |name: &str| Image { path: at(name), size: Bytes::gib(1), preallocate: false };
    fs::create_dir(at("dir")).unwrap();
    refused(
        Pool::open(&PoolSpec::mounted(at("dir"), "us")),
        ErrorKind::Unsupported,
        &["not on btrfs", "image"],
    );
    refused(Pool::open(&PoolSpec::mounted(at("none"), "us")), ErrorKind::NotFound, &["make the pool"]);
    let spec = PoolSpec::in_image(at("dir"), image("none.img"), "us");
    refused(Pool::open(&spec), ErrorKind::NotFound, &["none.img", "make the pool"]);
    let mut precious = vec![0; 3 << 20];
    precious[2 << 20] = 1;
    fs::write(at("full.img"), &precious).unwrap();
    let spec = PoolSpec::in_image(at("dir"), image("full.img"), "us");
    refused(Pool::make(&spec), ErrorKind::Conflict, &["not blank", "2097152"]);
    assert_eq!(fs::read(at("full.img")).unwrap(), precious);
    let small = Image { size: Bytes::mib(10), ..image("small.img") };
    refused(Pool::make(&PoolSpec::in_image(at("dir"), small, "us")), ErrorKind::Invalid, &["too small"]);
    let spec = PoolSpec::in_image(&rig.spec.path, image("other.img"), "us");
    refused(Pool::make(&spec), ErrorKind::Conflict, &["pool.img", "other.img"]);
    fs::write(at("dir/file"), "x").unwrap();
    refused(
        Pool::make(&PoolSpec::in_image(at("dir"), image("new.img"), "us")),
        ErrorKind::Conflict,
        &["not empty"],
    );
    let spec = PoolSpec { overcommit: 0.5, ..rig.spec.clone() };
    refused(Pool::open(&spec), ErrorKind::Invalid, &["1 or more"]);
}
