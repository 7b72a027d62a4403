//! Tells watchers what was committed.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::{Change, Kind};

/// Changes a watcher may be behind, over all kinds, before it is told `Lagged`.
pub(crate) const CAPACITY: usize = 4096;

/// Hands every change to every watcher of its kind.
#[derive(Debug)]
pub(crate) struct Feed {
    sender: broadcast::Sender<Change>,
}

impl Feed {
    pub(crate) fn new(capacity: usize) -> Feed {
        Feed { sender: broadcast::Sender::new(capacity) }
    }

    pub(crate) fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        if self.is_watched() {
            for change in changes {
                // Fails only when the last watcher has just left.
                let _ = self.sender.send(change);
            }
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// After `Lagged` the stream goes on with what is committed from then on: whoever lists next sees the rest.
    pub(crate) fn watch(&self, kind: Kind) -> BoxStream<'static, Change> {
        stream::unfold(self.sender.subscribe(), move |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(change) if concerns(&change, kind) => return Some((change, receiver)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        let newest = receiver.resubscribe();
                        return Some((Change::Lagged, newest));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }
}

fn concerns(change: &Change, kind: Kind) -> bool {
    match change {
        Change::Put(entry) => entry.key.kind == kind,
        Change::Deleted(key, _) => key.kind == kind,
        Change::Lagged => true,
    }
}
