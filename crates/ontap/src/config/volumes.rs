use std::str::FromStr;

use model::{VolumeOption, VolumeOptions};

/// What a volume's options ask the array for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choices {
    /// `none` unless another is asked for.
    pub(crate) snapshot_policy: Option<String>,
    pub(crate) snapshot_reserve: Option<Reserve>,
    pub(crate) snapshot_dir: bool,
    /// As the array takes it: octal digits.
    pub(crate) unix_permissions: Option<u32>,
    pub(crate) security_style: Option<&'static str>,
    pub(crate) encryption: Option<bool>,
    pub(crate) tiering_policy: Option<&'static str>,
    pub(crate) qos_policy: Option<String>,
    pub(crate) skip_recovery_queue: bool,
    pub(crate) space_allocation: Option<bool>,
}

/// Percent of a volume kept for its snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reserve(pub(crate) u8);

const STYLES: [&str; 2] = ["unix", "mixed"];
const TIERING: [&str; 5] = ["none", "snapshot-only", "auto", "all", "backup"];

impl Choices {
    /// # Errors
    /// The option, and what is wrong with its value.
    pub(crate) fn of(options: &VolumeOptions) -> Result<Choices, (VolumeOption, String)> {
        let mut choices = Choices::default();
        for (option, text) in options {
            choices.take(*option, text).map_err(|problem| (*option, problem))?;
        }
        let limits = |option| options.get(&option).is_some_and(|policy| !is_none(policy));
        if limits(VolumeOption::QosPolicy) && limits(VolumeOption::AdaptiveQosPolicy) {
            let problem = "`qosPolicy` is there too; keep one of them".to_owned();
            return Err((VolumeOption::AdaptiveQosPolicy, problem));
        }
        Ok(choices)
    }

    fn take(&mut self, option: VolumeOption, text: &str) -> Result<(), String> {
        match option {
            VolumeOption::SnapshotPolicy => self.snapshot_policy = Some(text.to_owned()),
            VolumeOption::SnapshotReserve => self.snapshot_reserve = Some(text.parse()?),
            VolumeOption::SnapshotDir => self.snapshot_dir = flag(text)?,
            VolumeOption::UnixPermissions => self.unix_permissions = Some(mode(text)?),
            VolumeOption::SecurityStyle => self.security_style = Some(word(text, &STYLES)?),
            VolumeOption::SplitOnClone if flag(text)? => {}
            VolumeOption::SplitOnClone => {
                return Err("clones are always made independent; write true, or leave it out".to_owned());
            }
            VolumeOption::ExportPolicy => {
                return Err("rules follow the use of volumes, in policies of their own; remove it".to_owned());
            }
            VolumeOption::Encryption => self.encryption = Some(flag(text)?),
            VolumeOption::TieringPolicy => self.tiering_policy = Some(word(text, &TIERING)?),
            VolumeOption::QosPolicy | VolumeOption::AdaptiveQosPolicy if is_none(text) => {}
            VolumeOption::QosPolicy | VolumeOption::AdaptiveQosPolicy => {
                self.qos_policy = Some(text.to_owned());
            }
            VolumeOption::SkipRecoveryQueue => self.skip_recovery_queue = flag(text)?,
            VolumeOption::SpaceAllocation => self.space_allocation = Some(flag(text)?),
            // The node's business.
            VolumeOption::LuksEncryption => {
                flag(text)?;
            }
            VolumeOption::FormatOptions | VolumeOption::BlockSize => {}
            VolumeOption::QosType | VolumeOption::Qos => {
                return Err("is an option of another family; use `qosPolicy`".to_owned());
            }
        }
        Ok(())
    }

    /// Without snapshots nothing is kept for them; with a policy, 5 % as the array does.
    pub(crate) fn reserve(&self) -> Reserve {
        let none = self.snapshot_policy.as_deref().is_none_or(|policy| policy == "none");
        self.snapshot_reserve.unwrap_or(Reserve(if none { 0 } else { 5 }))
    }
}

impl Reserve {
    /// The size of a volume whose active part has `size` bytes.
    pub(crate) fn around(self, size: model::Bytes) -> model::Bytes {
        let part = u128::from(size.get()) * 100;
        let whole = part.div_ceil(u128::from(100 - self.0));
        model::Bytes::new(u64::try_from(whole).unwrap_or(u64::MAX))
    }

    /// The active part of a volume of `size` bytes.
    pub(crate) fn within(self, size: model::Bytes) -> model::Bytes {
        let part = u128::from(size.get()) * u128::from(100 - self.0) / 100;
        model::Bytes::new(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

impl FromStr for Reserve {
    type Err = String;
    fn from_str(text: &str) -> Result<Reserve, String> {
        match text.trim_end_matches('%').parse::<u8>() {
            Ok(percent) if percent <= 90 => Ok(Reserve(percent)),
            _ => Err(format!("`{text}` is no share; write a percentage from 0 to 90")),
        }
    }
}

/// How a QoS policy is taken away.
fn is_none(policy: &str) -> bool {
    policy.is_empty() || policy.eq_ignore_ascii_case("none")
}

fn flag(text: &str) -> Result<bool, String> {
    text.to_ascii_lowercase().parse().map_err(|_| format!("`{text}` is neither true nor false"))
}

fn word(text: &str, known: &[&'static str]) -> Result<&'static str, String> {
    let found = known.iter().find(|word| word.eq_ignore_ascii_case(text)).copied();
    found.ok_or_else(|| format!("`{text}` is unknown; write one of {}", known.join(", ")))
}

/// Octal, or symbolic as Trident has it (`---rwxr-x---`).
fn mode(text: &str) -> Result<u32, String> {
    let refuse = || format!("mode `{text}` is not one; write it octal, as in 0770, or as in ---rwxrwx---");
    if let Ok(mode) = u32::from_str_radix(text, 8) {
        return if mode <= 0o7777 { Ok(mode) } else { Err(refuse()) };
    }
    let letters = text.strip_prefix("---").filter(|_| text.len() == 12).unwrap_or(text);
    if letters.len() != 9 {
        return Err(refuse());
    }
    letters.bytes().zip(b"rwxrwxrwx".iter().cycle()).try_fold(0, |mode, (given, letter)| match given {
        b'-' => Ok(mode << 1),
        given if given == *letter => Ok(mode << 1 | 1),
        _ => Err(refuse()),
    })
}

#[cfg(test)]
mod tests {
    use model::Bytes;

    use super::*;

    #[test]
    fn modes_are_read_both_ways() {
        for (text, mode) in [("0770", 0o770), ("777", 0o777), ("---rwxr-x---", 0o750), ("rwxrwxrwx", 0o777)] {
            assert_eq!(super::mode(text), Ok(mode), "{text}");
        }
        for wrong in ["", "0o", "99", "rwxrwxrw", "xwrxwrxwr", "17777", "---rwxr-x--x-"] {
            assert!(super::mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reserve_leaves_what_was_asked_for() {
        for (percent, size) in [(0, 1), (5, 300 << 30), (10, 12345), (90, 1 << 20)] {
            let reserve = Reserve(percent);
            let whole = reserve.around(Bytes::new(size));
            assert!(reserve.within(whole) >= Bytes::new(size), "{percent} {size}");
            assert!(reserve.within(whole) <= Bytes::new(size + 1), "{percent} {size}");
        }
    }
}
