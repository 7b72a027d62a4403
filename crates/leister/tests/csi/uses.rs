//! What an orchestrator does with volumes beyond what `csi-sanity` asks for.

use std::fs;
use std::path::Path;

use csi::wire::volume_capability::AccessType;
use csi::wire::volume_capability::access_mode::Mode;
use csi::wire::volume_content_source::{SnapshotSource, Type, VolumeSource};
use csi::wire::volume_usage::Unit;
use csi::wire::*;
use serde_json::json;
use tokio::runtime::Runtime;
use tonic::{Code, Status};

use crate::client::{At, Caller, Kind, until};
use crate::pools::may_make_pools;
use crate::rig::Rig;

const SIZE: i64 = 32 << 20;

struct Site {
    rig: Rig,
    runtime: Runtime,
    caller: Caller,
    node_id: String,
}

impl Site {
    fn start() -> Option<Site> {
        if !may_make_pools() {
            return None;
        }
        let mut rig = Rig::bare();
        rig.serve(&["--csi-endpoint", &endpoint(&rig)]);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let caller = runtime.block_on(async { Caller::of(&rig.path("csi.sock")) });
        let node_id = runtime.block_on(caller.node_id());
        Some(Site { rig, runtime, caller, node_id })
    }

    fn create(&self, request: &CreateVolumeRequest) -> Result<Volume, Status> {
        let created = self.runtime.block_on(self.caller.controller.clone().create_volume(request.clone()));
        created.map(|created| created.into_inner().volume.unwrap())
    }

    fn bring(&self, name: &str, kind: Kind) -> At {
        let at = At::new(&self.rig.path(""), name);
        self.runtime.block_on(self.caller.bring(name, kind, &self.node_id, &at));
        at
    }

    fn end(&self, name: &str, at: &At) {
        self.runtime.block_on(async {
            self.caller.take_away(name, &self.node_id, at).await;
            self.caller.delete(name).await;
        });
    }

    fn show(
        &self,
        name: &str,
        capability: VolumeCapability,
        target: &Path,
        readonly: bool,
    ) -> Result<(), Status> {
        let show = NodePublishVolumeRequest {
            volume_id: name.to_owned(),
            staging_target_path: self.rig.path("staging").join(name).display().to_string(),
            target_path: target.display().to_string(),
            volume_capability: Some(capability),
            readonly,
            ..NodePublishVolumeRequest::default()
        };
        self.runtime.block_on(self.caller.node.clone().node_publish_volume(show)).map(drop)
    }

    fn hide(&self, name: &str, target: &Path) {
        let hide = NodeUnpublishVolumeRequest {
            volume_id: name.to_owned(),
            target_path: target.display().to_string(),
        };
        self.runtime
            .block_on(until(|| async { self.caller.node.clone().node_unpublish_volume(hide.clone()).await }));
    }

    fn stats(&self, name: &str, at: &At) -> Vec<VolumeUsage> {
        let ask = NodeGetVolumeStatsRequest {
            volume_id: name.to_owned(),
            volume_path: at.target.display().to_string(),
            ..NodeGetVolumeStatsRequest::default()
        };
        let told = self.runtime.block_on(self.caller.node.clone().node_get_volume_stats(ask));
        told.unwrap().into_inner().usage
    }

    fn grow(&self, name: &str, kind: Kind, at: &At, size: i64) {
        let capacity_range = Some(CapacityRange { required_bytes: size, limit_bytes: 0 });
        let grow = ControllerExpandVolumeRequest {
            volume_id: name.to_owned(),
            capacity_range,
            ..ControllerExpandVolumeRequest::default()
        };
        let grown = self.runtime.block_on(self.caller.controller.clone().controller_expand_volume(grow));
        let grown = grown.unwrap().into_inner();
        assert_eq!((grown.capacity_bytes, grown.node_expansion_required), (size, kind != Kind::Files));
        let grow = NodeExpandVolumeRequest {
            volume_id: name.to_owned(),
            volume_path: at.target.display().to_string(),
            capacity_range,
            ..NodeExpandVolumeRequest::default()
        };
        let grown = self.runtime.block_on(self.caller.node.clone().node_expand_volume(grow)).unwrap();
        assert_eq!(grown.into_inner().capacity_bytes, size);
    }
}

fn endpoint(rig: &Rig) -> String {
    format!("unix://{}", rig.path("csi.sock").display())
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.unwrap_err().code()
}

#[test]
fn volumes_grow_while_they_are_used_and_tell_their_space_and_inodes() {
    let Some(site) = Site::start() else { return };
    for kind in [Kind::Files, Kind::Xfs, Kind::Device] {
        let name = format!("{kind:?}").to_lowercase();
        // XFS has no small file systems.
        const SIZE: i64 = 320 << 20;
        assert_eq!(site.create(&Caller::create(&name, kind, SIZE)).unwrap().capacity_bytes, SIZE);
        let at = site.bring(&name, kind);
        if kind == Kind::Device {
            fs::write(&at.target, "raw").unwrap();
        } else {
            fs::write(at.target.join("file"), "kept").unwrap();
        }
        let space = |usage: &[VolumeUsage]| usage.iter().find(|u| u.unit() == Unit::Bytes).unwrap().total;
        let before = site.stats(&name, &at);
        site.grow(&name, kind, &at, SIZE + SIZE / 4);
        let after = site.stats(&name, &at);
        assert!(space(&after) > space(&before) + SIZE / 5, "{kind:?}: {before:?} {after:?}");
        let inodes = after.iter().find(|usage| usage.unit() == Unit::Inodes);
        assert_eq!(inodes.is_some(), kind == Kind::Xfs, "{after:?}");
        assert!(
            inodes.is_none_or(|i| i.total > 0 && i.used > 0 && i.total == i.used + i.available),
            "{after:?}"
        );
        site.end(&name, &at);
    }
}

#[test]
fn snapshots_and_clones_have_the_content_of_their_moment() {
    let Some(site) = Site::start() else { return };
    for kind in [Kind::Files, Kind::Ext4] {
        let name = |what: &str| format!("{}-{what}", format!("{kind:?}").to_lowercase());
        site.create(&Caller::create(&name("v"), kind, SIZE)).unwrap();
        let at = site.bring(&name("v"), kind);
        let write = |text: &str| {
            let file = fs::File::create(at.target.join("file")).unwrap();
            std::io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
            file.sync_all().unwrap();
        };
        write("before");
        let take = CreateSnapshotRequest {
            source_volume_id: name("v"),
            name: name("s"),
            ..CreateSnapshotRequest::default()
        };
        let taken = site.runtime.block_on(site.caller.controller.clone().create_snapshot(take)).unwrap();
        let snapshot = taken.into_inner().snapshot.unwrap();
        assert!(snapshot.ready_to_use && snapshot.size_bytes == SIZE, "{snapshot:?}");
        write("after");
        let of_snapshot = Type::Snapshot(SnapshotSource { snapshot_id: snapshot.snapshot_id.clone() });
        let of_volume = Type::Volume(VolumeSource { volume_id: name("v") });
        for (clone, source, content) in [("c", of_snapshot, "before"), ("d", of_volume, "after")] {
            let mut create = Caller::create(&name(clone), kind, SIZE);
            create.volume_content_source = Some(VolumeContentSource { r#type: Some(source) });
            let made = site.create(&create).unwrap();
            assert_eq!(made.content_source, create.volume_content_source);
            let at = site.bring(&name(clone), kind);
            assert_eq!(fs::read_to_string(at.target.join("file")).unwrap(), content, "{kind:?} {clone}");
            site.end(&name(clone), &at);
        }
        // A volume with a snapshot is not deleted with it.
        site.runtime.block_on(site.caller.take_away(&name("v"), &site.node_id, &at));
        let delete = DeleteVolumeRequest { volume_id: name("v"), ..DeleteVolumeRequest::default() };
        let kept = site.runtime.block_on(site.caller.controller.clone().delete_volume(delete));
        assert_eq!(refused(kept), Code::FailedPrecondition);
        let delete = DeleteSnapshotRequest { snapshot_id: snapshot.snapshot_id, ..Default::default() };
        site.runtime.block_on(site.caller.controller.clone().delete_snapshot(delete)).unwrap();
        site.runtime.block_on(site.caller.delete(&name("v")));
    }
}

#[test]
fn one_volume_is_shown_to_many_read_only_to_some_and_to_one_alone() {
    let Some(site) = Site::start() else { return };
    site.create(&Caller::create("v", Kind::Files, SIZE)).unwrap();
    let at = site.bring("v", Kind::Files);
    let writer = Kind::Files.capability(Mode::SingleNodeWriter);
    let second = site.rig.path("target").join("second");
    site.show("v", writer.clone(), &second, true).unwrap();
    site.show("v", writer.clone(), &second, true).unwrap();
    assert_eq!(refused(site.show("v", writer.clone(), &second, false)), Code::AlreadyExists);
    fs::write(at.target.join("file"), "shared").unwrap();
    assert_eq!(fs::read_to_string(second.join("file")).unwrap(), "shared");
    assert_eq!(
        fs::write(second.join("file"), "no").unwrap_err().kind(),
        std::io::ErrorKind::ReadOnlyFilesystem
    );
    let alone = Kind::Files.capability(Mode::SingleNodeSingleWriter);
    let third = site.rig.path("target").join("third");
    assert_eq!(refused(site.show("v", alone.clone(), &third, false)), Code::FailedPrecondition);
    let unstage = NodeUnstageVolumeRequest {
        volume_id: "v".to_owned(),
        staging_target_path: at.staging.display().to_string(),
    };
    let in_use = site.runtime.block_on(site.caller.node.clone().node_unstage_volume(unstage));
    assert_eq!(refused(in_use), Code::FailedPrecondition);
    site.hide("v", &second);
    site.hide("v", &at.target);
    site.show("v", alone, &third, false).unwrap();
    site.hide("v", &third);
    site.end("v", &at);
}

#[test]
fn docker_beside_it_and_a_restart_take_nothing_that_was_published() {
    let Some(mut site) = Site::start() else { return };
    site.create(&Caller::create("v", Kind::Files, SIZE)).unwrap();
    let at = At::new(&site.rig.path(""), "v");
    let publish = ControllerPublishVolumeRequest {
        volume_id: "v".to_owned(),
        node_id: site.node_id.clone(),
        volume_capability: Some(Kind::Files.capability(Mode::SingleNodeWriter)),
        ..ControllerPublishVolumeRequest::default()
    };
    site.runtime.block_on(site.caller.controller.clone().controller_publish_volume(publish)).unwrap();
    let published = || {
        let entries = site.runtime.block_on(site.caller.volumes());
        entries[0].status.as_ref().unwrap().published_node_ids.clone()
    };
    assert_eq!(published(), [site.node_id.clone()]);
    // A container comes and goes.
    let docker = |call: &str| {
        let body = json!({"Name": "v", "ID": "one"}).to_string();
        let socket = site.rig.path("plugins").join("leister.sock");
        let said = docker(&socket, call, &body);
        assert!(said.contains("\"Err\":\"\""), "{said}");
    };
    docker("VolumeDriver.Mount");
    docker("VolumeDriver.Unmount");
    assert_eq!(published(), [site.node_id.clone()]);
    site.rig.kill();
    site.rig.serve(&["--csi-endpoint", &endpoint(&site.rig)]);
    let entries = site.runtime.block_on(site.caller.volumes());
    assert_eq!(entries[0].status.as_ref().unwrap().published_node_ids, [site.node_id.clone()]);
    assert!(!site.rig.ok(&["doctor"]).contains("volume v"));
    let at_v = site.bring("v", Kind::Files);
    assert_eq!(at_v.target, at.target);
    site.end("v", &at);
}

#[test]
fn pages_follow_one_another_while_volumes_come_and_go() {
    let Some(site) = Site::start() else { return };
    for name in ["a", "b", "c", "d"] {
        site.create(&Caller::create(name, Kind::Files, SIZE)).unwrap();
    }
    let page = |token: &str| {
        let list = ListVolumesRequest { max_entries: 2, starting_token: token.to_owned() };
        let page =
            site.runtime.block_on(site.caller.controller.clone().list_volumes(list)).unwrap().into_inner();
        let names = page.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id);
        (names.collect::<Vec<_>>(), page.next_token)
    };
    let (names, token) = page("");
    assert_eq!(names, ["a", "b"]);
    site.runtime.block_on(site.caller.delete("b"));
    site.create(&Caller::create("bb", Kind::Files, SIZE)).unwrap();
    let (names, token) = page(&token);
    assert_eq!(names, ["bb", "c"]);
    assert_eq!(page(&token), (vec!["d".to_owned()], String::new()));
}

#[test]
fn capacity_is_what_a_volume_could_have() {
    let Some(site) = Site::start() else { return };
    let capacity = |parameters: &[(&str, &str)]| {
        let parameters = parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let ask = GetCapacityRequest {
            volume_capabilities: vec![Kind::Files.capability(Mode::SingleNodeWriter)],
            parameters: parameters.collect(),
            ..GetCapacityRequest::default()
        };
        site.runtime.block_on(site.caller.controller.clone().get_capacity(ask))
    };
    let thick = [("provisioningType", "thick")];
    let told = capacity(&thick).unwrap().into_inner();
    let largest = told.maximum_volume_size.unwrap();
    assert!(largest > 0 && largest <= told.available_capacity, "{told:?}");
    assert!(told.minimum_volume_size.unwrap() <= largest, "{told:?}");
    let create = |name: &str, size: i64| {
        let mut create = Caller::create(name, Kind::Files, size);
        create.parameters = thick.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        site.create(&create)
    };
    assert_eq!(refused(create("v", largest + (1 << 20))), Code::ResourceExhausted);
    create("v", largest / 2).unwrap();
    let left = capacity(&thick).unwrap().into_inner().available_capacity;
    assert!(left <= told.available_capacity - largest / 2, "{left} of {told:?}");
    assert_eq!(capacity(&[("region", "nowhere")]).unwrap().into_inner().available_capacity, 0);
    assert_eq!(refused(capacity(&[("provisoningType", "thick")])), Code::InvalidArgument);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let Some(site) = Site::start() else { return };
    let plain = || Caller::create("v", Kind::Files, SIZE);
    let with = |change: &dyn Fn(&mut CreateVolumeRequest)| {
        let mut create = plain();
        change(&mut create);
        refused(site.create(&create))
    };
    let parameter = |key: &str, value: &str| {
        with(&|create| drop(create.parameters.insert(key.to_owned(), value.to_owned())))
    };
    let range = |required_bytes, limit_bytes| {
        with(&|create| create.capacity_range = Some(CapacityRange { required_bytes, limit_bytes }))
    };
    assert_eq!(with(&|create| create.name.clear()), Code::InvalidArgument);
    assert_eq!(parameter("medai", "ssd"), Code::InvalidArgument);
    assert_eq!(parameter("media", "tape"), Code::InvalidArgument);
    assert_eq!(parameter("class", "gold"), Code::NotFound);
    assert_eq!(parameter("qosPolicy", "fast"), Code::InvalidArgument);
    assert_eq!(range(4 << 40, 0), Code::ResourceExhausted);
    assert_eq!(range(2 << 20, 1 << 20), Code::OutOfRange);
    assert_eq!(range((16 << 20) + 1, (16 << 20) + 2), Code::OutOfRange);
    assert_eq!(range(-1, 0), Code::InvalidArgument);
    let use_as =
        |kind: Kind, mode: Mode| with(&|create| create.volume_capabilities = vec![kind.capability(mode)]);
    assert_eq!(use_as(Kind::Ext4, Mode::MultiNodeMultiWriter), Code::InvalidArgument);
    assert_eq!(use_as(Kind::Files, Mode::Unknown), Code::InvalidArgument);
    let group = |create: &mut CreateVolumeRequest| {
        let Some(AccessType::Mount(mount)) = &mut create.volume_capabilities[0].access_type else { panic!() };
        mount.volume_mount_group = "staff".to_owned();
    };
    assert_eq!(with(&group), Code::InvalidArgument);
    let modify = |create: &mut CreateVolumeRequest| {
        create.mutable_parameters.insert("qos".to_owned(), "1,2,3".to_owned());
    };
    assert_eq!(with(&modify), Code::InvalidArgument);
    assert!(site.runtime.block_on(site.caller.volumes()).is_empty());

    // Nothing is shown before it is staged, and nothing staged before it is published.
    site.create(&plain()).unwrap();
    assert_eq!(site.create(&plain()).unwrap().volume_id, "v");
    let at = At::new(&site.rig.path(""), "v");
    let capability = || Kind::Files.capability(Mode::SingleNodeWriter);
    let stage = NodeStageVolumeRequest {
        volume_id: "v".to_owned(),
        staging_target_path: at.staging.display().to_string(),
        volume_capability: Some(capability()),
        ..NodeStageVolumeRequest::default()
    };
    let staged = site.runtime.block_on(site.caller.node.clone().node_stage_volume(stage));
    assert_eq!(refused(staged), Code::FailedPrecondition);
    assert_eq!(refused(site.show("v", capability(), &at.target, false)), Code::FailedPrecondition);
    // As a device it is not to be had, and a foreign mount is left alone.
    site.bring("v", Kind::Files);
    let device = Kind::Device.capability(Mode::SingleNodeWriter);
    assert_eq!(refused(site.show("v", device, &site.rig.path("x"), false)), Code::InvalidArgument);
    let pool = site.rig.path("pool");
    assert_eq!(refused(site.show("v", capability(), &pool, false)), Code::AlreadyExists);
    assert!(pool.read_dir().unwrap().count() > 0);
    site.end("v", &at);
}

#[test]
fn files_are_given_to_the_group_that_will_write_them() {
    use std::os::unix::fs::MetadataExt as _;
    let Some(site) = Site::start() else { return };
    let plain = Caller::create("v", Kind::Files, SIZE);
    site.create(&plain).unwrap();
    let at = site.bring("v", Kind::Files);
    fs::write(at.target.join("file"), "kept").unwrap();
    let mut capability = Kind::Files.capability(Mode::SingleNodeWriter);
    let Some(AccessType::Mount(mount)) = &mut capability.access_type else { panic!() };
    mount.volume_mount_group = "4242".to_owned();
    let (reader, writer) = (site.rig.path("target/reader"), site.rig.path("target/writer"));
    site.show("v", capability.clone(), &reader, true).unwrap();
    assert_ne!(fs::metadata(reader.join("file")).unwrap().gid(), 4242);
    site.show("v", capability, &writer, false).unwrap();
    for path in [writer.clone(), writer.join("file")] {
        assert_eq!(fs::metadata(path).unwrap().gid(), 4242);
    }
    for target in [reader, writer] {
        site.hide("v", &target);
    }
    site.end("v", &at);
}

/// One call as the engine makes it.
fn docker(socket: &Path, call: &str, body: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let length = body.len();
    let head =
        format!("POST /{call} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}
