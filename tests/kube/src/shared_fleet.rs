use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use anyhow::{Result, anyhow};
use rig::Rig;

use crate::fleet::Fleet;

/// The fleet that all tests of an executable share.
pub struct SharedFleet {
    fleet: Fleet<'static>,
    turn: Mutex<()>,
}

/// The rig outlives the cluster that is on its networks.
static RIG: OnceLock<Result<Rig, String>> = OnceLock::new();
static FLEET: OnceLock<Result<SharedFleet, String>> = OnceLock::new();

impl Deref for SharedFleet {
    type Target = Fleet<'static>;

    fn deref(&self) -> &Fleet<'static> {
        &self.fleet
    }
}

impl SharedFleet {
    /// Starts it when it is first asked for.
    ///
    /// # Errors
    /// What did not start, then or now.
    #[allow(clippy::print_stdout, reason = "a time that was measured")]
    pub fn get(boot: impl FnOnce() -> Result<Rig>) -> Result<&'static SharedFleet> {
        let started = Instant::now();
        let rig = RIG.get_or_init(|| boot().map_err(|error| format!("{error:#}")));
        let rig = rig.as_ref().map_err(|error| anyhow!("{error}"))?;
        let fleet = FLEET.get_or_init(|| {
            let _watch = rig.watch();
            let fleet = Fleet::start(rig).map_err(|error| format!("{error:#}"))?;
            println!("cluster and machines up in {:.1?}", started.elapsed());
            Ok(SharedFleet { fleet, turn: Mutex::new(()) })
        });
        fleet.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// The machines are few: one test after the other.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
