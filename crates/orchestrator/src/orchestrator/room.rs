//! How much of a kind of volume could still be made.

use model::{Bytes, Pool};

use super::Orchestrator;
use crate::Result;
use crate::backend::{BackendHealth, BackendView};
use crate::placement::{Candidate, place};
use crate::request::CreateRequest;

/// What one pool has left for volumes of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub pool: Pool,
    pub free: Bytes,
    /// The largest volume that it would make now.
    pub largest: Bytes,
}

impl Orchestrator {
    /// The pools that would take such a volume, whatever its size.
    ///
    /// # Errors
    /// A class or parameter that does not fit; another instance leads and does not say.
    pub async fn room(&self, request: &CreateRequest) -> Result<Vec<Room>> {
        let mut demand = self.inner.demand(request)?;
        let mut rooms = Vec::new();
        for backend in self.backends().await? {
            for pool in &backend.pools {
                demand.size = Some(pool.smallest.round_up(pool.granularity));
                let candidate = Candidate { pool: pool.clone(), obstacle: obstacle(&backend) };
                // One that is full, or does not fit, has no room.
                let Ok(places) = place(&demand, &[candidate]) else { continue };
                for place in places {
                    let free = pool.capacity.free(place.spec.provisioning);
                    let largest = pool.largest.map_or(free, |largest| largest.min(free));
                    rooms.push(Room { pool: pool.clone(), free, largest });
                }
            }
        }
        Ok(rooms)
    }
}

fn obstacle(backend: &BackendView) -> Option<String> {
    match &backend.health {
        BackendHealth::Online if backend.suspended => Some("suspended".to_owned()),
        BackendHealth::Online => None,
        health => Some(health.as_str().to_owned()),
    }
}
