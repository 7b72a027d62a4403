//! Detaches what a storage has taken from this node: nothing waits for a storage that is gone.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{Places, Unwritten, detach, nfs, references, unit};
use crate::error::{HostError, Result};
use crate::filesystem::Tools;
use crate::lock::blocking;
use crate::mount::Table;
use crate::sessions::Sessions;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long an earlier request may still wait for its server, and what was cut off may take to go.
const GRACE: Duration = Duration::from_secs(5);

/// What is done to a storage's devices while others work on them.
#[derive(Default)]
struct Cut {
    /// The volume is held by this request.
    is_held: AtomicBool,
    /// The target of the disks that go or are gone; locked while they go.
    target: Mutex<Option<String>>,
}

/// As [`detach`]; what is not written yet may be lost. `hold` waits for the volume, which an earlier request may have.
///
/// # Behavior
/// When no path to the device works any more, or the server does not answer, whatever waits for it gets an error.
/// Nothing is cut off while a reference is left.
pub(crate) async fn abandon(
    places: &Places,
    unheld: &Tools,
    hold: impl Future<Output = Tools>,
    sessions: &Sessions,
) -> Result<()> {
    let cut = Cut::default();
    let work = async {
        let tools = hold.await;
        cut.is_held.store(true, Ordering::Relaxed);
        let left = references(&Table::read()?, places);
        if !left.is_empty() {
            return Err(HostError::InUse { volume: places.volume.clone(), references: left });
        }
        let detached = detach(places, Unwritten::MayBeLost, &tools, sessions).await;
        let Some(target) = cut.target.lock().await.clone() else { return detached };
        // What it looked at may have gone under it, and goes for a moment more.
        let until = Instant::now() + GRACE;
        while let Err(error) = detach(places, Unwritten::MayBeLost, &tools, sessions).await {
            if Instant::now() > until {
                return Err(error);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        unit::leave(places, &target, &tools, sessions).await;
        Ok(())
    };
    tokio::select! {
        done = work => done,
        never = cut_off(places, unheld, &cut) => match never {},
    }
}

async fn cut_off(places: &Places, tools: &Tools, cut: &Cut) -> Infallible {
    let since = Instant::now();
    loop {
        let is_waited_for = !cut.is_held.load(Ordering::Relaxed) && since.elapsed() > GRACE;
        if let Err(error) = cut_off_now(places, tools, is_waited_for, cut).await {
            tracing::debug!(volume = %places.volume, %error, "not cut off");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn cut_off_now(places: &Places, tools: &Tools, is_waited_for: bool, cut: &Cut) -> Result<()> {
    let table = Table::read()?;
    if !references(&table, places).is_empty() {
        return Ok(());
    }
    let stage = places.stage();
    if is_waited_for && table.at(&stage).is_some_and(nfs::is_nfs) {
        // Whoever flushes has it open, so that it stays.
        let at = places.clone();
        let ended = blocking(&tools.hold, move || {
            nfs::end_waiting(&at);
            Ok(())
        });
        let ended = tokio::time::timeout(LOOK_EVERY, ended).await;
        tracing::debug!(volume = %places.volume, ?ended, "ended what waits for the server");
    }
    if is_waited_for {
        // Its sessions may work, and its unit be gone from them.
        unit::stop_waiting(places, tools).await?;
    }
    let mut gone = cut.target.lock().await;
    if let Some((device, target)) = unit::dead(places)? {
        tracing::warn!(volume = %places.volume, target, "no path works: what was not written yet is lost");
        *gone = Some(target);
        unit::cut_off(&device, tools).await?;
    }
    Ok(())
}
