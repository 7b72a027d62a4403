//! From an accepted request to what its caller is told.

use std::sync::Arc;
use std::time::Instant;

use tracing::Instrument as _;

use super::Inner;
use crate::locks::Lockable;
use crate::request::{Answer, Request};
use crate::running::Operation;
use crate::volume::Wish;
use crate::{Error, ErrorKind, Result};

impl Inner {
    pub(super) async fn work(self: Arc<Self>, operation: Arc<Operation>) {
        let started = Instant::now();
        let worker = self.clone();
        let performed = {
            let operation = operation.clone();
            tokio::spawn(async move { worker.carry_out(&operation).await }.in_current_span()).await
        };
        let result = performed.unwrap_or_else(|panic| {
            tracing::error!(%panic, "an operation panicked");
            Err(Error::new(
                ErrorKind::Internal,
                "the operation failed through a mistake in the program; see the log",
            ))
        });
        let outcome = result.as_ref().err().map_or("ok", |error| error.kind.as_str());
        let verb = operation.request.verb();
        self.metrics.operation(verb, operation.backend().as_ref(), outcome, started.elapsed());
        match &result {
            Ok(_) => tracing::debug!(took = ?started.elapsed(), "done"),
            Err(error) if error.kind == ErrorKind::Internal => {
                tracing::error!(error = error.sentence(), "failed")
            }
            Err(error) => {
                tracing::info!(kind = error.kind.as_str(), error = error.sentence(), "refused or failed")
            }
        }
        self.running.leave(&operation, result);
    }

    pub(super) async fn perform(&self, operation: &Operation) -> Result<Answer> {
        let request = &operation.request;
        let source = match request {
            Request::Create(create) => create.source.as_ref().map(|source| &source.volume),
            _ => None,
        };
        if let (Some(source), Some(_)) = (source, self.own()) {
            let _source = self.locks.volumes(source, None, request.verb()).await;
            self.catch_up(source, true, operation).await?;
        }
        // The name before the volumes, as everybody does.
        let _name = match request {
            Request::TakeGroup { snapshot, .. } | Request::DeleteGroup { snapshot, .. } => {
                Some(self.locks.exclusive(Lockable::Group(snapshot.clone()), request.verb()).await)
            }
            _ => None,
        };
        let volumes = self.changed_by(request);
        let _locks = match source {
            None => self.locks.all(&volumes, request.verb()).await,
            some => self.locks.volumes(request.volume(), some, request.verb()).await,
        };
        self.catch_up_for(request, operation).await?;
        match request {
            Request::Create(create) => self.create(create, operation).await,
            Request::Import(import) => self.import(import, operation).await,
            Request::Adopt { volume, backend } => self.adopt(volume, backend, operation).await,
            Request::Modify { volume, changes } => self.modify(volume, changes, operation).await,
            Request::Grow { volume, size } => self.grow(volume, *size, operation).await,
            Request::Delete { volume, with_snapshots } => {
                self.delete(volume, *with_snapshots, operation).await
            }
            Request::Forget { volume } => self.forget(volume).await,
            Request::Take { volume, snapshot } => self.take(volume, snapshot, operation).await,
            Request::DeleteSnapshot { volume, snapshot } => {
                self.delete_snapshot(volume, snapshot, operation).await
            }
            Request::TakeGroup { snapshot, .. } => self.take_group(&volumes, snapshot, operation).await,
            Request::DeleteGroup { snapshot, .. } => self.delete_group(&volumes, snapshot, operation).await,
            Request::Restore { volume, snapshot } => self.restore(volume, snapshot, operation).await,
            Request::Publish { volume, node, read_only, force, kept } => {
                let wish = Wish { read_only: *read_only, force: *force, kept: *kept };
                self.publish(volume, node, wish, operation).await
            }
            Request::Fence { volume, node } => self.fence(volume, node, operation).await,
            Request::Find { volume } => self.volume(volume).map(Answer::Volume),
            Request::Unpublish { volume, node } => self.unpublish(volume, node, operation).await,
            Request::MarkStaged { volume } => self.mark_staged(volume, operation).await,
            Request::Reconcile { volume, strays } => {
                self.reconcile(volume, strays, &volumes, operation).await
            }
        }
    }
}
