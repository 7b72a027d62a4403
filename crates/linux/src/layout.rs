//! Where the bytes of a volume lie, and how this host reaches them.

pub(crate) mod file;

use model::{LocalSource, Route};

/// The local route to a volume.
pub(crate) fn route(state: &filer::VolumeState) -> Route {
    let source = match &state.served {
        filer::Served::Directory { path, snapshots } => {
            LocalSource::Directory { path: path.clone(), snapshots: file::shown(state, snapshots.as_ref()) }
        }
        filer::Served::Image { path } | filer::Served::Device { path } => {
            LocalSource::Image { path: path.clone() }
        }
    };
    Route::Local { source }
}
