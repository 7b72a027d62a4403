//! The end of a volume.

use std::time::Duration;

use model::VolumeId;
use node::on_node;
use orchestrator::{Error, ErrorKind, Orchestrator, Request, Result};
use tonic::Status;

use crate::plugin::{Service, volume_id};

/// # Behavior
/// A volume that is not there is as good as deleted.
///
/// # Errors
/// `FAILED_PRECONDITION` while it is in use or has snapshots.
pub(super) async fn delete(service: &Service, id: &str, limit: Duration) -> std::result::Result<(), Status> {
    let Some(volume) = volume_id(id)? else { return Ok(()) };
    let (orchestrator, here) = (service.orchestrator.clone(), service.here.clone());
    let work = async move {
        let Some(mounts) = here else { return end(&orchestrator, volume, limit).await };
        let held = mounts.hold(&volume).await;
        if orchestrator.find(&volume, limit).await?.is_none() {
            return Ok(());
        }
        let references = mounts.host.references(&volume).map_err(|e| on_node("look at", &volume, e))?;
        if !references.is_empty() {
            let problem = format!("volume `{volume}` is in use on node `{}`", mounts.node);
            return Err(Error::new(ErrorKind::InUse, problem).hint("unpublish it there first"));
        }
        // A crash between the last use and its end may have left something.
        mounts.settle(&held).await?;
        end(&orchestrator, volume.clone(), limit).await?;
        if let Err(error) = mounts.host.forget(&volume).await {
            let error = on_node("clean up after", &volume, error);
            tracing::warn!(error = error.sentence(), "the volume is gone, but not all of it on this node");
        }
        Ok(())
    };
    service.to_the_end(limit, work).await
}

async fn end(orchestrator: &Orchestrator, volume: VolumeId, limit: Duration) -> Result<()> {
    let request = Request::Delete { volume, with_snapshots: false };
    match orchestrator.run_patiently(request, limit).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        ended => ended.map(drop),
    }
}
