//! The plugin over its real socket, with real mounts. Needs root.

#![allow(clippy::unwrap_used, reason = "tests and their rig")]

mod etcd;
mod rig;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use driver::memory::{Call, Fault};
use futures::future::join_all;
use model::{Bytes, NodeName, SnapshotName};
use orchestrator::{ErrorKind, Request};
use rig::{Rig, call_at, connect, exchange, request, until, volume};
use serde_json::json;

#[tokio::test]
async fn the_engine_is_told_what_the_plugin_is() {
    let rig = Rig::new();
    let process = rig.start().await;
    let activated = process.call("Plugin.Activate", json!(null)).await.unwrap();
    assert_eq!(activated["Implements"], json!(["VolumeDriver"]));
    let capabilities = process.call("VolumeDriver.Capabilities", json!({})).await.unwrap();
    assert_eq!(capabilities["Capabilities"], json!({"Scope": "global"}));
    let (status, answer) = exchange(&process.socket, "VolumeDriver.Rename", "{}".to_owned()).await;
    assert_eq!(status, 500);
    assert!(answer["Err"].as_str().unwrap().contains("`VolumeDriver.Rename` is not a call"), "{answer}");
}

#[tokio::test]
async fn a_volume_is_created_shown_listed_and_removed() {
    let rig = Rig::new();
    let process = rig.start().await;
    assert!(process.get("db").await.unwrap_err().contains("there is no volume `db`"));
    for _ in 0..2 {
        process
            .create("db", &[("size", "2"), ("provisioningType", "thick"), ("labels", "app=shop")])
            .await
            .unwrap();
    }
    let shown = process.get("db").await.unwrap();
    assert_eq!((&shown["Name"], &shown["Mountpoint"]), (&json!("db"), &json!("")));
    assert!(shown["CreatedAt"].as_str().unwrap().ends_with('Z'), "{shown}");
    let status = &shown["Status"];
    for (key, value) in [
        ("size", json!("2GiB")),
        ("backend", json!("b")),
        ("pool", json!("memory")),
        ("layout", json!("file")),
        ("provisioningType", json!("thick")),
        ("state", json!("ready")),
        ("mounts", json!(0)),
        ("labels", json!({"app": "shop"})),
        ("Snapshots", json!([])),
    ] {
        assert_eq!(status[key], value, "{key} in {shown}");
    }
    let listed = process.call("VolumeDriver.List", json!(null)).await.unwrap();
    assert_eq!(listed["Volumes"][0]["Name"], "db");
    assert!(listed["Volumes"][0].get("Status").is_none());
    process.remove("db").await.unwrap();
    assert!(process.remove("db").await.unwrap_err().contains("there is no volume `db`"));
    assert_eq!(process.call("VolumeDriver.List", json!({})).await.unwrap()["Volumes"], json!([]));
    assert!(rig.array.handles().is_empty());
}

#[tokio::test]
async fn snapshots_are_shown_and_stand_against_removal() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    let snapshot = SnapshotName::new("monday").unwrap();
    process.orchestrator.run(Request::Take { volume: volume("db"), snapshot }).await.unwrap();
    let snapshots = process.get("db").await.unwrap()["Status"]["Snapshots"].clone();
    assert_eq!(snapshots[0]["Name"], "monday");
    assert!(snapshots[0]["Created"].is_string(), "{snapshots}");
    assert!(process.remove("db").await.unwrap_err().contains("has 1 snapshot,"));
    process.create("copy", &[("from", "db"), ("fromSnapshot", "monday")]).await.unwrap();
    assert!(process.get("copy").await.is_ok());
}

#[tokio::test]
async fn mistakes_are_explained_and_reach_no_backend() {
    let rig = Rig::new();
    let process = rig.start().await;
    let message = process.create("db", &[("siez", "1G")]).await.unwrap_err();
    assert!(message.starts_with("unknown option `siez`; did you mean `size`?"), "{message}");
    assert!(process.create("d/b", &[]).await.unwrap_err().contains("the character `/`"));
    assert!(process.create("db", &[("size", "4x")]).await.unwrap_err().contains("option `size`"));
    for (body, part) in [("", "try again"), ("{", "cannot be understood"), ("{}", "missing field `Name`")] {
        let message = call_at(&process.socket, "VolumeDriver.Create", body.to_owned()).await.unwrap_err();
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(rig.array.faults.count(Call::Create), 0);
}

#[tokio::test]
async fn two_containers_share_a_volume_and_the_last_one_frees_it() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    let one = process.mount("db", "one").await.unwrap();
    let two = process.mount("db", "two").await.unwrap();
    assert_eq!(process.mount("db", "one").await.unwrap(), one);
    assert_ne!(one, two);
    fs::write(one.join("note"), "kept").unwrap();
    assert_eq!(fs::read(two.join("note")).unwrap(), b"kept");
    assert_eq!(process.get("db").await.unwrap()["Status"]["mounts"], 2);
    assert_eq!(process.path("db").await.unwrap(), one.to_str().unwrap());

    let refused = process.remove("db").await.unwrap_err();
    assert!(
        refused.contains("volume `db` is mounted by 2 containers on node `here`; stop them first"),
        "{refused}"
    );

    process.unmount("db", "one").await.unwrap();
    process.unmount("db", "never").await.unwrap();
    assert_eq!(fs::read(two.join("note")).unwrap(), b"kept");
    assert!(process.remove("db").await.unwrap_err().contains("by 1 container "));
    process.unmount("db", "two").await.unwrap();
    process.unmount("db", "two").await.unwrap();
    assert_eq!(process.path("db").await.unwrap(), "");
    assert!(!process.is_published("db"));

    let again = process.mount("db", "three").await.unwrap();
    assert_eq!(fs::read(again.join("note")).unwrap(), b"kept");
    process.unmount("db", "three").await.unwrap();
    process.remove("db").await.unwrap();
    assert_eq!(fs::read_dir(rig.path().join("mounts")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_restart_keeps_mounts_and_counts() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    let one = process.mount("db", "one").await.unwrap();
    process.mount("db", "two").await.unwrap();
    fs::write(one.join("note"), "kept").unwrap();
    process.kill().await;

    assert_eq!(fs::read(one.join("note")).unwrap(), b"kept");
    let process = rig.start().await;
    assert_eq!(process.get("db").await.unwrap()["Status"]["mounts"], 2);
    assert_eq!(process.mount("db", "one").await.unwrap(), one);
    process.unmount("db", "one").await.unwrap();
    assert!(process.remove("db").await.unwrap_err().contains("by 1 container "));
    process.unmount("db", "two").await.unwrap();
    process.remove("db").await.unwrap();
    assert!(rig.array.handles().is_empty());
}

#[tokio::test]
async fn asked_to_stop_it_removes_its_socket_and_keeps_the_mounts() {
    let rig = Rig::new();
    let mut process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    let one = process.mount("db", "one").await.unwrap();
    process.stop().await;
    assert_eq!(fs::read_dir(rig.path().join("plugins")).unwrap().count(), 0);
    fs::write(one.join("note"), "alive").unwrap();
    assert_eq!(process.references("db"), 1);
}

#[tokio::test]
async fn a_crash_between_making_a_file_system_and_recording_it_is_mended() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("disk", &[("size", "64MiB"), ("fstype", "ext4")]).await.unwrap();
    let node = NodeName::new("here").unwrap();
    let publish =
        Request::Publish { volume: volume("disk"), node, read_only: false, force: false, kept: false };
    let route = process.orchestrator.run(publish).await.unwrap().route().unwrap();
    let wanted = host::Attachment {
        filesystem: Some(model::Filesystem::Ext4),
        size: Bytes::mib(64),
        ..host::Attachment::default()
    };
    process.host.attach(&volume("disk"), &route, &wanted).await.unwrap();
    assert!(!process.orchestrator.catalogue().volume(&volume("disk")).unwrap().staged);
    process.kill().await;

    let process = rig.start().await;
    until("what nobody uses is freed", || !process.is_published("disk")).await;
    let path = process.mount("disk", "one").await.unwrap();
    fs::write(path.join("note"), "kept").unwrap();
    process.unmount("disk", "one").await.unwrap();
    let path = process.mount("disk", "two").await.unwrap();
    assert_eq!(fs::read(path.join("note")).unwrap(), b"kept");
}

#[tokio::test]
async fn a_staged_volume_that_is_found_blank_is_never_formatted() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("disk", &[("size", "64MiB"), ("fstype", "ext4")]).await.unwrap();
    process.mount("disk", "one").await.unwrap();
    process.unmount("disk", "one").await.unwrap();
    let image = rig.path().join("data/disk.img");
    fs::remove_file(&image).unwrap();
    fs::File::create(&image).unwrap().set_len(Bytes::mib(64).get()).unwrap();
    let refused = process.mount("disk", "two").await.unwrap_err();
    assert!(refused.contains("was staged, but no filesystem is on it"), "{refused}");
    assert!(!process.is_published("disk"), "a failed mount frees what it took");
    assert!(fs::read(&image).unwrap().iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_raw_device_is_not_mounted_and_the_user_is_told_why() {
    let rig = Rig::new();
    let process = rig.start().await;
    let mut raw = orchestrator::CreateRequest::named(volume("raw"));
    raw.layout = Some(model::Layout::Block);
    process.orchestrator.run(Request::Create(Box::new(raw))).await.unwrap();
    let refused = process.mount("raw", "one").await.unwrap_err();
    assert!(refused.contains("raw block device") && refused.contains("fileSystemType=ext4"), "{refused}");
    assert!(!process.is_published("raw"));
}

#[tokio::test]
async fn a_volume_that_vanished_is_shown_as_missing_and_not_mounted() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    rig.array.lose(&rig.array.handles()[0]);
    assert!(process.mount("db", "one").await.is_err());
    assert_eq!(process.get("db").await.unwrap()["Status"]["state"], "missing");
    assert_eq!(process.references("db"), 0);
}

#[tokio::test]
async fn after_a_reboot_what_nobody_uses_is_freed() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    let one = process.mount("db", "one").await.unwrap();
    process.kill().await;
    unmount_all(rig.path());
    let process = rig.start().await;
    until("the volume is freed", || !process.is_published("db")).await;
    assert!(rig.array.permits(&rig.array.handles()[0]).is_empty());
    assert_eq!(process.mount("db", "one").await.unwrap(), one);
}

#[tokio::test]
async fn a_mount_without_its_publication_is_published_again() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    let one = process.mount("db", "one").await.unwrap();
    let node = NodeName::new("here").unwrap();
    process.orchestrator.run(Request::Unpublish { volume: volume("db"), node }).await.unwrap();
    let findings = process.orchestrator.doctor().await;
    assert!(
        findings.iter().any(|f| f.subject.contains("db") && f.problem.contains("not published")),
        "{findings:?}"
    );
    process.kill().await;
    let process = rig.start().await;
    until("it is published", || process.is_published("db")).await;
    fs::write(one.join("note"), "alive").unwrap();
    assert_eq!(process.references("db"), 1);
}

#[tokio::test]
async fn a_crash_between_publishing_and_mounting_is_mended() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    rig.gate.close();
    let socket = process.socket.clone();
    let mounting = tokio::spawn(async move {
        let mut sender = connect(&socket).await;
        let body = json!({"Name": "db", "ID": "one"}).to_string();
        sender.send_request(request("VolumeDriver.Mount", body)).await.map(drop)
    });
    until("publishing has begun", || process.is_published("db")).await;
    process.kill().await;
    assert!(mounting.await.unwrap().is_err());

    rig.gate.open();
    let process = rig.start().await;
    let path = process.mount("db", "one").await.unwrap();
    fs::write(path.join("note"), "works").unwrap();
    process.unmount("db", "one").await.unwrap();
    process.remove("db").await.unwrap();
}

#[tokio::test]
async fn a_mount_whose_caller_has_left_is_undone() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    rig.gate.close();
    let mut sender = connect(&process.socket).await;
    let body = json!({"Name": "db", "ID": "one"}).to_string();
    let call = sender.send_request(request("VolumeDriver.Mount", body));
    assert!(tokio::time::timeout(Duration::from_millis(300), call).await.is_err());
    assert!(process.is_published("db"));
    drop(sender);
    // A call that follows on another connection shows that the first one's end has been noticed.
    process.get("db").await.unwrap();
    rig.gate.open();
    until("it is undone", || !process.is_published("db")).await;
    assert_eq!(process.references("db"), 0);
    process.remove("db").await.unwrap();
}

#[tokio::test]
async fn thirty_two_containers_may_start_at_once() {
    const CONTAINERS: usize = 32;
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    let ids: Vec<String> = (0..CONTAINERS).map(|n| format!("c{n}")).collect();
    let mounted = join_all(ids.iter().map(|id| process.mount("db", id))).await;
    let paths: BTreeSet<_> = mounted.into_iter().map(Result::unwrap).collect();
    assert_eq!(paths.len(), CONTAINERS);
    assert_eq!(process.references("db"), CONTAINERS);
    assert!(process.remove("db").await.unwrap_err().contains("by 32 containers"));
    for ended in join_all(ids.iter().map(|id| process.unmount("db", id))).await {
        ended.unwrap();
    }
    assert!(!process.is_published("db"));
    process.remove("db").await.unwrap();
}

#[tokio::test]
async fn answers_come_within_a_second_while_backends_are_opening() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    process.mount("db", "one").await.unwrap();
    process.kill().await;
    let process = rig.start_with(false).await;
    let named = json!({"Name": "db"});
    for (call, body) in [
        ("Plugin.Activate", json!(null)),
        ("VolumeDriver.Capabilities", json!({})),
        ("VolumeDriver.Get", named.clone()),
        ("VolumeDriver.Path", named),
        ("VolumeDriver.List", json!({})),
        // The volume is here already: a second container needs no backend.
        ("VolumeDriver.Mount", json!({"Name": "db", "ID": "two"})),
        ("VolumeDriver.Unmount", json!({"Name": "db", "ID": "two"})),
    ] {
        let started = Instant::now();
        let answer = process.call(call, body).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(1), "{call} took {:?}: {answer}", started.elapsed());
    }
    let started = Instant::now();
    let refused = process.create("other", &[]).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}: {refused}", started.elapsed());
    assert!(refused.contains("opening backends: b; try again"), "{refused}");
}

#[tokio::test]
async fn a_backend_that_does_not_answer_keeps_nobody_from_looking() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    rig.array.faults.always(Call::Observe, Fault::Hang);
    let started = Instant::now();
    let status = process.get("db").await.unwrap()["Status"].clone();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(status.get("used").is_none() && status["state"] == "ready", "{status}");
}

#[tokio::test]
async fn the_same_wish_from_many_at_once_is_one_volume() {
    let rig = Rig::new();
    let process = rig.start().await;
    for created in join_all((0..16).map(|_| process.create("db", &[("size", "1G")]))).await {
        created.unwrap();
    }
    assert_eq!(rig.array.handles().len(), 1);
    let refused = process.create("db", &[("size", "2G")]).await.unwrap_err();
    assert!(refused.contains("volume `db` exists and differs"), "{refused}");
}

#[tokio::test]
async fn a_lost_reply_to_mount_or_remove_is_made_good_by_repeating() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    rig.array.faults.plan(Call::Permit, 1, Fault::LoseReply);
    if process.mount("db", "one").await.is_err() {
        assert_eq!(process.references("db"), 0);
        process.mount("db", "one").await.unwrap();
    }
    rig.array.faults.plan(Call::Forbid, 1, Fault::LoseReply);
    process.unmount("db", "one").await.unwrap();
    assert_eq!(process.references("db"), 0);
    rig.array.faults.plan(Call::Delete, 1, Fault::LoseReply);
    let first = process.remove("db").await;
    if let Err(message) = first
        && let Err(again) = process.remove("db").await
    {
        assert!(again.contains("there is no volume"), "{message}; {again}");
    }
    until("it is gone", || rig.array.handles().is_empty()).await;
}

#[tokio::test]
async fn a_second_instance_of_the_same_name_is_refused() {
    let rig = Rig::new();
    let _process = rig.start().await;
    let mut settings = docker::DockerSettings::new(model::InstanceId::new("leister").unwrap());
    settings.plugin_dir = rig.path().join("plugins");
    let error = docker::Plugin::claim(&settings).await.unwrap_err();
    assert!(error.to_string().contains("instance `leister` already runs"), "{error}");
}

#[tokio::test]
async fn a_block_volume_gets_its_file_system_once_and_grows_while_mounted() {
    let rig = Rig::new();
    let process = rig.start().await;
    let options = [("size", "320MiB"), ("fstype", "xfs"), ("unixPermissions", "0750")];
    process.create("disk", &options).await.unwrap();
    let path = process.mount("disk", "one").await.unwrap();
    assert!(process.orchestrator.catalogue().volume(&volume("disk")).unwrap().staged);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o750);
    fs::write(path.join("note"), "kept").unwrap();

    let space = || rustix::fs::statvfs(&path).map(|s| s.f_blocks * s.f_frsize).unwrap();
    assert!(space() < Bytes::mib(320).get());
    let grow = Request::Grow { volume: volume("disk"), size: Bytes::mib(480) };
    process.orchestrator.run(grow).await.unwrap();
    until("the file system has grown", || space() > Bytes::mib(400).get()).await;
    assert_eq!(fs::read(path.join("note")).unwrap(), b"kept");

    process.unmount("disk", "one").await.unwrap();
    process.kill().await;
    let process = rig.start().await;
    let path = process.mount("disk", "two").await.unwrap();
    assert_eq!(fs::read(path.join("note")).unwrap(), b"kept");
    process.unmount("disk", "two").await.unwrap();
    process.remove("disk").await.unwrap();
    assert_eq!(fs::read_dir(rig.path().join("mounts")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_mount_that_no_record_knows_is_found_by_the_doctor_and_left_alone() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("db", &[]).await.unwrap();
    let one = process.mount("db", "one").await.unwrap();
    assert_eq!(process.orchestrator.doctor().await, []);
    let forget = Request::Forget { volume: volume("db") };
    assert_eq!(process.orchestrator.run(forget.clone()).await.unwrap_err().kind, ErrorKind::InUse);
    let node = process.orchestrator.settings().node.name.clone();
    process.orchestrator.run(Request::Unpublish { volume: volume("db"), node }).await.unwrap();
    process.orchestrator.run(forget).await.unwrap();
    let findings = process.orchestrator.doctor().await;
    assert!(findings.iter().any(|f| f.problem.contains("has no record")), "{findings:?}");
    process.kill().await;
    let process = rig.start().await;
    fs::write(one.join("note"), "alive").unwrap();
    assert_eq!(process.references("db"), 1);
    process.unmount("db", "one").await.unwrap();
    assert_eq!(process.references("db"), 0);
}

/// What a reboot does to mounts.
fn unmount_all(directory: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    for point in points.iter().rev().filter(|point| Path::new(point).starts_with(directory)) {
        rustix::mount::unmount(*point, rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

#[tokio::test]
async fn two_hosts_share_a_backend_and_no_store() {
    let (one, two) = Rig::two();
    let (first, second) = (one.start().await, two.start().await);
    first.create("disk", &[("size", "64MiB"), ("fstype", "ext4")]).await.unwrap();
    let listed = second.call("VolumeDriver.List", json!(null)).await.unwrap();
    assert_eq!(listed["Volumes"][0]["Name"], json!("disk"), "{listed}");
    let path = first.mount("disk", "a").await.unwrap();
    fs::write(Path::new(&path).join("words"), "from the first").unwrap();
    let refusal = second.mount("disk", "b").await.unwrap_err();
    assert!(refusal.contains("is in use on node `first`"), "{refusal}");
    assert!(refusal.contains("leister fence volume disk --node first"), "{refusal}");
    assert!(second.remove("disk").await.unwrap_err().contains("is in use on node `first`"));
    first.unmount("disk", "a").await.unwrap();
    let path = second.mount("disk", "b").await.unwrap();
    assert_eq!(fs::read_to_string(Path::new(&path).join("words")).unwrap(), "from the first");
    second.unmount("disk", "b").await.unwrap();
    second.remove("disk").await.unwrap();
    assert!(first.get("disk").await.unwrap_err().contains("there is no volume `disk`"));
}

#[tokio::test]
async fn a_volume_that_another_host_made_is_found_however_slow_its_backend_is() {
    let (one, two) = Rig::two();
    let (first, second) = (one.start().await, two.start().await);
    first.create("db", &[]).await.unwrap();
    // The engine makes a volume of its own of one that it is told nothing of.
    two.lag.store(1500, std::sync::atomic::Ordering::SeqCst);
    second.get("db").await.unwrap();
}

#[tokio::test]
async fn a_node_that_lost_a_volume_by_force_lets_go_of_it_and_may_then_have_it_again() {
    let rig = Rig::new();
    let process = rig.start().await;
    process.create("disk", &[("size", "64MiB"), ("fstype", "ext4")]).await.unwrap();
    process.mount("disk", "a").await.unwrap();
    let fence = Request::Fence { volume: volume("disk"), node: NodeName::new("here").unwrap() };
    process.orchestrator.run(fence).await.unwrap();
    let let_go = || {
        process.references("disk") == 0
            && process.orchestrator.catalogue().volume(&volume("disk")).unwrap().fenced.is_empty()
    };
    until("the node has let go", let_go).await;
    assert!(!process.is_published("disk"));
    process.mount("disk", "b").await.unwrap();
    process.unmount("disk", "b").await.unwrap();
}
