//! Replicas whose clocks differ.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube_suite::needs_the_machine;
use store::{Store as _, StoreError};

use crate::site::{Place, Site, acquired};

/// Seconds. A renewal has to come within them, also on a machine that is busy.
const LASTS: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_a_replica_whose_clock_is_an_hour_off_is_neither_stolen_nor_kept_after_its_death()
-> Result<()> {
    needs_the_machine!();
    for clock in ["1 hour ago", "1 hour"] {
        let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
        let store = place.brief_store(LASTS).await?;
        renewed(&place, FENCE, clock)?;
        // It is renewed for longer than it lasts.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(LASTS + LASTS / 2) {
            let refused = store.acquire("b").await;
            ensure!(
                matches!(&refused, Err(StoreError::Held { holder }) if holder == "a"),
                "{clock}: {refused:?}"
            );
            tokio::task::block_in_place(|| renewed(&place, FENCE, clock))?;
        }
        let died = Instant::now();
        let lease = acquired(&store, "b").await?;
        println!("{clock}: had {:.1?} after the last word of the one before", died.elapsed());
        ensure!(died.elapsed() >= Duration::from_secs(LASTS - 1), "{clock}: stolen");
        ensure!(lease.fence.0 > FENCE, "{:?}", lease.fence);
    }
    Ok(())
}

/// The number of one that somebody has deleted comes of the clock; that of the one before was ahead of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_somebody_deletes_goes_on_above_what_was_seen() -> Result<()> {
    needs_the_machine!();
    const AHEAD: u64 = 2_000_000_000;
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let store = place.brief_store(LASTS).await?;
    renewed(&place, AHEAD, "now")?;
    ensure!(matches!(store.acquire("b").await, Err(StoreError::Held { .. })));
    place.site.kubectl(&["delete", "lease", "leister-writer", "--namespace", &place.namespace])?.ok()?;
    let lease = store.acquire("b").await?;
    ensure!(lease.fence.0 > AHEAD, "{:?}", lease.fence);
    Ok(())
}

const FENCE: u64 = 7;

/// As one whose clock is so far off writes it.
fn renewed(place: &Place, fence: u64, clock: &str) -> Result<()> {
    let now = place.site.shell(&format!("date --utc --date '{clock}' +%Y-%m-%dT%H:%M:%S.%6NZ"))?.ok()?;
    place.site.apply(&format!(
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\n\
         metadata: {{name: leister-writer, namespace: {}}}\n\
         spec: {{holderIdentity: a, leaseDurationSeconds: {LASTS}, leaseTransitions: {fence}, renewTime: \"{now}\"}}\n",
        place.namespace
    ))
}
