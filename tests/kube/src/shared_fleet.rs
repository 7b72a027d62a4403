use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use anyhow::{Result, anyhow};
use rig::{Backend, Rig};

use crate::fleet::Fleet;
use crate::lacking;

/// The rig outlives the cluster that is on its networks.
static RIG: OnceLock<Result<Rig, String>> = OnceLock::new();
static FLEET: OnceLock<Result<Fleet<'static>, String>> = OnceLock::new();
static TURN: Mutex<()> = Mutex::new(());

/// Gives a test its turn on the fleet that all tests of an executable share, if this machine can have one. It is
/// started when it is first asked for; its machines are few, so there is one test after the other.
///
/// # Errors
/// What did not start, then or now, and what the test says. What the machines know then is kept.
#[allow(clippy::print_stdout, reason = "skips, and a time that was measured")]
pub fn on_shared_fleet(
    boot: impl FnOnce() -> Result<Rig>,
    test: impl FnOnce(&'static Fleet<'static>) -> Result<()>,
) -> Result<()> {
    if let Some(reason) = lacking().or_else(|| Rig::available(Backend::Uml).err()) {
        println!("skipped: {reason}");
        return Ok(());
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let started = Instant::now();
    let rig = RIG.get_or_init(|| boot().map_err(|error| format!("{error:#}")));
    let rig = rig.as_ref().map_err(|error| anyhow!("{error}"))?;
    let fleet = FLEET.get_or_init(|| {
        let fleet = rig.watch().over(|| Fleet::start(rig)).map_err(|error| format!("{error:#}"))?;
        println!("cluster and machines up in {:.1?}", started.elapsed());
        Ok(fleet)
    });
    let fleet = fleet.as_ref().map_err(|error| anyhow!("{error}"))?;
    rig.watch().over(|| test(fleet))
}
