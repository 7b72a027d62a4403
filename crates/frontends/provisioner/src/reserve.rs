//! What of a claim's size is for snapshots.

use model::{AccessMode, Attribute, Bytes, Layout, VolumeOption};
use orchestrator::CreateRequest;

const BACKEND: &str = Attribute::BackendType.as_str();
/// Of which volumes consist.
const BLOCK: Bytes = Bytes::kib(4);

/// Asks for a volume whose snapshots have their part of the claim's size, not space besides.
///
/// # Behavior
/// So the first versions of Trident had it: of 300 GiB with 5 % for snapshots 285 can be used. `percent` is for claims that
/// do not say `snapshotReserve` themselves. Only what is a tree of files for certain has a reserve within: a device
/// has the size that its claim says.
pub(crate) fn take(request: &mut CreateRequest, percent: Option<u8>) {
    if !is_files(request) {
        return;
    }
    if let Some(percent) = percent {
        request.options.entry(VolumeOption::SnapshotReserve).or_insert_with(|| percent.to_string());
    }
    let wanted =
        request.options.get(&VolumeOption::SnapshotReserve).and_then(|text| text.parse::<u64>().ok());
    // What is no number, or too much, the backend refuses with its own words.
    if let (Some(percent), Some(size)) = (wanted.filter(|percent| *percent < 100), request.size) {
        request.size = Some(Bytes::new(size.get() / 100 * (100 - percent)).round_up(BLOCK));
    }
}

fn is_files(request: &CreateRequest) -> bool {
    let says =
        |key: &str| request.parameters.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str());
    match request.layout {
        Some(layout) => layout == Layout::File,
        // What several nodes write to is files, and so is all that such a backend has.
        None => {
            matches!(request.access, Some(AccessMode::ReadWriteMany | AccessMode::ReadOnlyMany))
                || says(BACKEND).is_some_and(|kind| kind.contains("-nas"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::VolumeId;

    fn request(access: AccessMode) -> CreateRequest {
        let mut request = CreateRequest::named(VolumeId::new("v").unwrap());
        (request.size, request.access) = (Some(Bytes::gib(300)), Some(access));
        request
    }

    fn taken(mut request: CreateRequest, percent: Option<u8>) -> (u64, Option<String>) {
        take(&mut request, percent);
        let option = request.options.get(&VolumeOption::SnapshotReserve).cloned();
        (request.size.unwrap().get() >> 30, option)
    }

    #[test]
    fn the_case_studys_300_gib_have_285_for_data() {
        assert_eq!(taken(request(AccessMode::ReadWriteMany), Some(5)), (285, Some("5".into())));
        assert_eq!(taken(request(AccessMode::ReadWriteMany), None), (300, None));
    }

    #[test]
    fn what_a_claim_says_itself_holds_and_what_is_no_percentage_is_left_to_the_backend() {
        for (said, size) in [("10", 270), ("0", 300), ("many", 300), ("100", 300)] {
            let mut asks = request(AccessMode::ReadWriteMany);
            asks.options.insert(VolumeOption::SnapshotReserve, said.into());
            assert_eq!(taken(asks, Some(5)), (size, Some(said.into())));
        }
    }

    #[test]
    fn only_files_have_it() {
        let mut device = request(AccessMode::ReadWriteMany);
        device.layout = Some(Layout::Block);
        assert_eq!(taken(device, Some(5)), (300, None));
        // Who can tell?
        assert_eq!(taken(request(AccessMode::ReadWriteOnce), Some(5)), (300, None));
        for (kind, size) in [("ontap-nas", 285), ("ontap-nas-economy", 285), ("ontap-san", 300)] {
            let mut of_class = request(AccessMode::ReadWriteOnce);
            of_class.parameters.push((BACKEND.to_owned(), kind.to_owned()));
            assert_eq!(taken(of_class, Some(5)).0, size, "{kind}");
        }
    }
}
