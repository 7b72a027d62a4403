use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ::driver::{DriverError, ErrorKind, Result};
use filer::PoolSpec;
use model::InstanceId;

use super::OPEN;
use crate::config::{Local, PoolImage};
use crate::error::translate;

/// Pools that are open in this process, so that a changed backend can be opened before the old one is dropped.
static OPENED: Mutex<Vec<(PoolSpec, Weak<filer::Pool>)>> = Mutex::new(Vec::new());

/// The pool, opened; made where the file gives it a size and it has never been there.
pub(super) fn shared(local: &Local, instance: &InstanceId) -> Result<Arc<filer::Pool>> {
    let spec = local.spec(instance);
    let opened = || OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let live = opened().iter().find(|(asked, _)| *asked == spec).and_then(|(_, pool)| pool.upgrade());
    if let Some(pool) = live {
        return Ok(pool);
    }
    let pool = Arc::new(open_pool(local, &spec)?);
    let mut opened = opened();
    opened.retain(|(_, pool)| pool.strong_count() > 0);
    opened.push((spec, Arc::downgrade(&pool)));
    Ok(pool)
}

/// Opens the pool. One that was made once and is gone is not made anew: volumes were in it.
fn open_pool(local: &Local, spec: &PoolSpec) -> Result<filer::Pool> {
    let fail = |error| translate(OPEN, error);
    let Some(PoolImage { path, size: Some(_), .. }) = &local.image else {
        return filer::Pool::open(spec).map_err(fail);
    };
    let made = path.with_added_extension("made");
    if made.exists() && !path.exists() {
        let message = format!(
            "the pool's image {} is gone though it was made before; bring it back, or remove {} to start empty",
            path.display(),
            made.display()
        );
        return Err(DriverError::new(ErrorKind::NotFound, OPEN, message));
    }
    if made.exists() {
        // Blank now, it was not always: it is opened as it is or refused, never formatted again.
        return filer::Pool::open(spec).map_err(fail);
    }
    let pool = filer::Pool::make(spec).map_err(fail)?;
    File::create(&made).and_then(|file| file.sync_all()).map_err(|e| {
        DriverError::new(ErrorKind::Internal, OPEN, format!("cannot write {}", made.display())).because(e)
    })?;
    Ok(pool)
}
