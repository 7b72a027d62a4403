use driver::config::{ConfigError, Section};
use model::Bytes;

use super::Kind;

/// How many volumes share a FlexVol, for the economy drivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    /// LUNs or qtrees of one FlexVol.
    pub(crate) most: usize,
    /// The largest that one may become.
    pub(crate) limit: Option<Bytes>,
    /// Only those that are there are used.
    pub(crate) deny_new: bool,
}

/// # Source
/// Trident's bounds and defaults.
const COUNTS: [(&str, Kind, usize, usize, usize); 2] = [
    ("lunsPerFlexvol", Kind::SanEconomy, 50, 200, 100),
    ("qtreesPerFlexvol", Kind::NasEconomy, 50, 300, 200),
];

pub(super) fn read(keys: &mut Section, kind: Kind) -> Result<Shared, ConfigError> {
    let alone = |keys: &Section, key: &str| {
        keys.error(key, format!("volumes of `{}` share no FlexVol that this counts; remove it", kind.name()))
    };
    let mut most = usize::MAX;
    for (key, of, least, greatest, default) in COUNTS {
        let text = keys.text(key)?;
        if of != kind {
            if text.is_some() {
                return Err(alone(keys, key));
            }
            continue;
        }
        most = match text.as_deref().map(str::parse::<usize>) {
            None => default,
            Some(Ok(count)) if (least..=greatest).contains(&count) => count,
            Some(_) => {
                let text = text.unwrap_or_default();
                let problem = format!("`{text}` does not do; write a number from {least} to {greatest}");
                return Err(keys.error(key, problem));
            }
        };
    }
    let limit = keys.size("limitVolumePoolSize")?;
    let deny_new = keys.flag("denyNewVolumePools")?;
    for (key, is_there) in
        [("limitVolumePoolSize", limit.is_some()), ("denyNewVolumePools", deny_new.is_some())]
    {
        if is_there && !kind.is_economy() {
            return Err(alone(keys, key));
        }
    }
    Ok(Shared { most, limit, deny_new: deny_new.unwrap_or(false) })
}
