//! A caller as an orchestrator is one: it asks again until it is done.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use csi::wire::controller_client::ControllerClient;
use csi::wire::node_client::NodeClient;
use csi::wire::volume_capability::access_mode::Mode;
use csi::wire::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use csi::wire::*;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) controller: ControllerClient<Channel>,
    pub(crate) node: NodeClient<Channel>,
}

/// How a volume is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Files,
    Ext4,
    Xfs,
    Device,
}

impl Kind {
    pub(crate) const SMALL: [Kind; 3] = [Kind::Files, Kind::Ext4, Kind::Device];

    pub(crate) fn capability(self, mode: Mode) -> VolumeCapability {
        let mount = |fs_type: &str| MountVolume { fs_type: fs_type.to_owned(), ..MountVolume::default() };
        VolumeCapability {
            access_mode: Some(AccessMode { mode: mode.into() }),
            access_type: Some(match self {
                Kind::Files => AccessType::Mount(mount("")),
                Kind::Ext4 => AccessType::Mount(mount("ext4")),
                Kind::Xfs => AccessType::Mount(mount("xfs")),
                Kind::Device => AccessType::Block(BlockVolume {}),
            }),
        }
    }
}

impl Caller {
    /// Connects when it calls, and again when it has to.
    pub(crate) fn of(socket: &Path) -> Caller {
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect_lazy();
        Caller { controller: ControllerClient::new(channel.clone()), node: NodeClient::new(channel) }
    }

    pub(crate) fn create(name: &str, kind: Kind, size: i64) -> CreateVolumeRequest {
        CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(CapacityRange { required_bytes: size, limit_bytes: 0 }),
            volume_capabilities: vec![kind.capability(Mode::SingleNodeWriter)],
            ..CreateVolumeRequest::default()
        }
    }

    pub(crate) async fn node_id(&self) -> String {
        until(|| async { self.node.clone().node_get_info(NodeGetInfoRequest {}).await }).await.node_id
    }

    /// Brings a volume to a target, as an orchestrator would.
    pub(crate) async fn bring(&self, volume: &str, kind: Kind, node_id: &str, at: &At) {
        let capability = Some(kind.capability(Mode::SingleNodeWriter));
        let publish = ControllerPublishVolumeRequest {
            volume_id: volume.to_owned(),
            node_id: node_id.to_owned(),
            volume_capability: capability.clone(),
            ..ControllerPublishVolumeRequest::default()
        };
        until(|| async { self.controller.clone().controller_publish_volume(publish.clone()).await }).await;
        let stage = NodeStageVolumeRequest {
            volume_id: volume.to_owned(),
            staging_target_path: at.staging.display().to_string(),
            volume_capability: capability.clone(),
            ..NodeStageVolumeRequest::default()
        };
        until(|| async { self.node.clone().node_stage_volume(stage.clone()).await }).await;
        let show = NodePublishVolumeRequest {
            volume_id: volume.to_owned(),
            staging_target_path: at.staging.display().to_string(),
            target_path: at.target.display().to_string(),
            volume_capability: capability,
            ..NodePublishVolumeRequest::default()
        };
        until(|| async { self.node.clone().node_publish_volume(show.clone()).await }).await;
    }

    /// And takes it away again.
    pub(crate) async fn take_away(&self, volume: &str, node_id: &str, at: &At) {
        let hide = NodeUnpublishVolumeRequest {
            volume_id: volume.to_owned(),
            target_path: at.target.display().to_string(),
        };
        until(|| async { self.node.clone().node_unpublish_volume(hide.clone()).await }).await;
        let unstage = NodeUnstageVolumeRequest {
            volume_id: volume.to_owned(),
            staging_target_path: at.staging.display().to_string(),
        };
        until(|| async { self.node.clone().node_unstage_volume(unstage.clone()).await }).await;
        let unpublish = ControllerUnpublishVolumeRequest {
            volume_id: volume.to_owned(),
            node_id: node_id.to_owned(),
            ..ControllerUnpublishVolumeRequest::default()
        };
        until(|| async { self.controller.clone().controller_unpublish_volume(unpublish.clone()).await })
            .await;
    }

    pub(crate) async fn delete(&self, volume: &str) {
        let delete = DeleteVolumeRequest { volume_id: volume.to_owned(), ..DeleteVolumeRequest::default() };
        until(|| async { self.controller.clone().delete_volume(delete.clone()).await }).await;
    }

    pub(crate) async fn volumes(&self) -> Vec<list_volumes_response::Entry> {
        until(|| async { self.controller.clone().list_volumes(ListVolumesRequest::default()).await })
            .await
            .entries
    }
}

/// Where a volume is wanted.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) staging: PathBuf,
    pub(crate) target: PathBuf,
}

impl At {
    pub(crate) fn new(folder: &Path, name: &str) -> At {
        let at = At { staging: folder.join("staging").join(name), target: folder.join("target").join(name) };
        std::fs::create_dir_all(&at.staging).unwrap();
        std::fs::create_dir_all(at.target.parent().unwrap()).unwrap();
        at
    }
}

/// Asks until it is done; only what a server that dies or is busy says is asked again.
pub(crate) async fn until<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let started = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer.into_inner(),
            Err(refused) if is_passing(&refused) && started.elapsed() < LIMIT => {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            Err(refused) => panic!("{refused:?}"),
        }
    }
}

fn is_passing(refused: &Status) -> bool {
    let is_transport = std::error::Error::source(refused).is_some();
    is_transport || matches!(refused.code(), Code::Unavailable | Code::Aborted | Code::Cancelled)
}
