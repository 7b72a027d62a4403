//! Snapshots of several volumes through the door, on a simulated array: the way of a snapshotter.

use csi::wire::group_controller_client::GroupControllerClient;
use csi::wire::plugin_capability::{Type, service};
use csi::wire::volume_content_source::{self, SnapshotSource};
use csi::wire::*;
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::array;
use crate::client::{Caller, Kind, until};
use crate::pools::may_make_pools;
use crate::rig::Rig;

const SIZE: i64 = 64 << 20;

#[test]
fn a_group_is_snapshotted_restored_from_and_deleted_as_one() {
    if !may_make_pools() {
        return;
    }
    let (runtime, sim) = array::start();
    let mut rig = Rig::bare();
    let config = rig.write("backend.json", &array::backend(&sim, &json!({})));
    let socket = rig.path("csi.sock");
    let serve = ["--config", &config, "--csi-endpoint", &socket.display().to_string()];
    rig.serve(&serve);
    let (caller, groups) = runtime.block_on(async { (Caller::of(&socket), door(&socket)) });
    runtime.block_on(async {
        let asked = identity(&socket).get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await.unwrap();
        let claimed = asked.into_inner().capabilities.into_iter().filter_map(|claim| claim.r#type);
        let service =
            |claim| matches!(claim, Type::Service(s) if s.r#type() == service::Type::GroupControllerService);
        assert!(claimed.into_iter().any(service));

        for name in ["a", "b", "alone"] {
            make(&caller, name, "array:.*", None).await.unwrap();
        }
        make(&caller, "here", "local:.*", None).await.unwrap();
        let both = take(&groups, "g", &["b", "a"]).await.unwrap();
        assert!(both.ready_to_use && both.creation_time.is_some());
        let ids: Vec<&str> = both.snapshots.iter().map(|s| s.snapshot_id.as_str()).collect();
        assert_eq!((both.group_snapshot_id.as_str(), ids), ("g", vec!["a/g", "b/g"]));
        assert!(both.snapshots.iter().all(|s| s.group_snapshot_id == "g" && s.ready_to_use));
        assert_eq!(take(&groups, "g", &["a", "b"]).await.unwrap(), both, "it is taken once");
        assert_eq!(sim.state().list("snapshots").count(), 2);

        let refusals = [
            (take(&groups, "g", &["a", "alone"]).await, Code::AlreadyExists, "`a`, `b`"),
            (take(&groups, "x", &["a", "here"]).await, Code::FailedPrecondition, "one backend"),
            (take(&groups, "x", &["here"]).await, Code::FailedPrecondition, "one after the other"),
            (take(&groups, "x", &["a", "absent"]).await, Code::NotFound, "`absent`"),
            (take(&groups, "x", &[]).await, Code::InvalidArgument, "source_volume_ids"),
            (find(&groups, "g", &["a/g"]).await, Code::InvalidArgument, "a/g, b/g"),
            (find(&groups, "absent", &[]).await, Code::NotFound, "`absent`"),
        ];
        for (refused, code, words) in refusals {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), code, "{refused:?}");
            assert!(refused.message().contains(words), "{refused:?}");
        }
        let alone = DeleteSnapshotRequest { snapshot_id: "a/g".into(), ..DeleteSnapshotRequest::default() };
        let refused = caller.controller.clone().delete_snapshot(alone).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert_eq!(sim.state().list("snapshots").count(), 2);

        let restored = make(&caller, "restored", "array:.*", Some("b/g")).await.unwrap();
        assert_eq!(restored.capacity_bytes, SIZE);
    });
    let shown = rig.ok(&["get", "snapshots"]);
    assert!(shown.contains("GROUP") && shown.contains("a,b"), "{shown}");
    rig.kill();
    rig.serve(&serve);
    runtime.block_on(async {
        let find = GetVolumeGroupSnapshotRequest {
            group_snapshot_id: "g".into(),
            ..GetVolumeGroupSnapshotRequest::default()
        };
        let found = until(|| async { groups.clone().get_volume_group_snapshot(find.clone()).await }).await;
        assert_eq!(found.group_snapshot.unwrap().snapshots.len(), 2, "a restart has lost it");
        let delete = DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: "g".into(),
            snapshot_ids: vec!["b/g".into(), "a/g".into()],
            ..DeleteVolumeGroupSnapshotRequest::default()
        };
        for _ in 0..2 {
            until(|| async { groups.clone().delete_volume_group_snapshot(delete.clone()).await }).await;
        }
        assert_eq!(sim.state().list("snapshots").count(), 0);
        assert_eq!(sim.state().list("consistency_groups").count(), 0);
    });
    assert_eq!(rig.ok(&["snapshot", "a", "cli", "--with", "b"]), "group/cli created\n");
    assert_eq!(rig.ok(&["delete", "group", "cli", "--yes"]), "group/cli deleted\n");
    runtime.block_on(async {
        for name in ["a", "b", "alone", "here", "restored"] {
            caller.delete(name).await;
        }
    });
    assert_eq!(sim.state().list("snapshots").count(), 0);
    assert_eq!(rig.stop(), Some(0));
}

fn channel(socket: &std::path::Path) -> Channel {
    tonic::transport::Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect_lazy()
}

fn door(socket: &std::path::Path) -> GroupControllerClient<Channel> {
    GroupControllerClient::new(channel(socket))
}

fn identity(socket: &std::path::Path) -> identity_client::IdentityClient<Channel> {
    identity_client::IdentityClient::new(channel(socket))
}

async fn make(caller: &Caller, name: &str, pools: &str, of: Option<&str>) -> Result<Volume, Status> {
    let mut create = Caller::create(name, Kind::Files, SIZE);
    create.parameters.insert("storagePools".to_owned(), pools.to_owned());
    create.volume_content_source = of.map(|id| VolumeContentSource {
        r#type: Some(volume_content_source::Type::Snapshot(SnapshotSource { snapshot_id: id.to_owned() })),
    });
    let created = caller.controller.clone().create_volume(create).await?;
    Ok(created.into_inner().volume.unwrap())
}

async fn take(
    groups: &GroupControllerClient<Channel>,
    name: &str,
    volumes: &[&str],
) -> Result<VolumeGroupSnapshot, Status> {
    let wanted = CreateVolumeGroupSnapshotRequest {
        name: name.to_owned(),
        source_volume_ids: volumes.iter().map(|id| (*id).to_owned()).collect(),
        ..CreateVolumeGroupSnapshotRequest::default()
    };
    let taken = groups.clone().create_volume_group_snapshot(wanted).await?;
    Ok(taken.into_inner().group_snapshot.unwrap())
}

async fn find(
    groups: &GroupControllerClient<Channel>,
    id: &str,
    snapshots: &[&str],
) -> Result<VolumeGroupSnapshot, Status> {
    let wanted = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id.to_owned(),
        snapshot_ids: snapshots.iter().map(|id| (*id).to_owned()).collect(),
        ..GetVolumeGroupSnapshotRequest::default()
    };
    let found = groups.clone().get_volume_group_snapshot(wanted).await?;
    Ok(found.into_inner().group_snapshot.unwrap())
}
