//! Block volumes: one image file in a subvolume, attached as a loop device.

use model::LocalSource;

pub(super) fn source(state: &filer::VolumeState) -> LocalSource {
    LocalSource::Image { path: state.path.clone() }
}
