//! Where the bytes of a volume lie, and how this host reaches them.

pub(crate) mod block;
pub(crate) mod file;

use model::Route;

/// The local route to a volume.
pub(crate) fn route(state: &filer::VolumeState) -> Route {
    let source = match state.layout {
        filer::Layout::File => file::source(state),
        filer::Layout::Block => block::source(state),
    };
    Route::Local { source }
}
