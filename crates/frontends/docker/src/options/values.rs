//! Values of wishes that only some drivers can fulfil: their form is checked here, whether a pool accepts them
//! by placement.

use model::{Labels, VolumeOption};

use node::permissions;

/// # Errors
/// What the value should look like.
pub(super) fn check(option: VolumeOption, value: &str) -> Result<(), String> {
    match option {
        VolumeOption::SnapshotDir
        | VolumeOption::SplitOnClone
        | VolumeOption::Encryption
        | VolumeOption::LuksEncryption
        | VolumeOption::SpaceAllocation
        | VolumeOption::SkipRecoveryQueue => one_of(value, &["true", "false"]),
        VolumeOption::SecurityStyle => one_of(value, &["unix", "mixed"]),
        VolumeOption::BlockSize => one_of(value, &["512", "4096"]),
        VolumeOption::SnapshotReserve => percent(value),
        VolumeOption::UnixPermissions => mode(value),
        VolumeOption::Qos => qos(value),
        VolumeOption::SnapshotPolicy
        | VolumeOption::ExportPolicy
        | VolumeOption::TieringPolicy
        | VolumeOption::QosPolicy
        | VolumeOption::AdaptiveQosPolicy
        | VolumeOption::QosType
        | VolumeOption::FormatOptions => Ok(()),
    }
}

/// # Errors
/// The part that is not `key=value`, or a key given twice.
pub(super) fn labels(value: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| format!("`{part}` is not key=value; write `app=shop,tier=web`"))?;
        if labels.insert(key.trim().to_owned(), value.trim().to_owned()).is_some() {
            return Err(format!("label `{}` is given twice", key.trim()));
        }
    }
    Ok(labels)
}

fn one_of(value: &str, words: &[&str]) -> Result<(), String> {
    if words.iter().any(|word| word.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    Err(format!("`{value}` is not among what it can be; write {}", words.join(" or ")))
}

fn percent(value: &str) -> Result<(), String> {
    match value.parse::<u8>() {
        Ok(0..=90) => Ok(()),
        _ => Err(format!("`{value}` is not a share in percent; write a whole number from 0 to 90")),
    }
}

fn mode(value: &str) -> Result<(), String> {
    match permissions::parse(value) {
        Some(_) => Ok(()),
        None => Err(format!("`{value}` is not a mode; write it octal as 0770 or symbolic as rwxrwx---")),
    }
}

fn qos(value: &str) -> Result<(), String> {
    let numbers: Result<Vec<u64>, _> = value.split(',').map(|n| n.trim().parse()).collect();
    match numbers.as_deref() {
        Ok([least, most, burst]) if least <= most && most <= burst => Ok(()),
        Ok([_, _, _]) => {
            Err(format!("`{value}` must not fall: guaranteed, largest, burst; write 1000,2000,4000"))
        }
        _ => Err(format!("`{value}` is not three whole numbers; write 1000,2000,4000")),
    }
}
