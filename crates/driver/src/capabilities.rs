use serde::{Deserialize, Serialize};

use crate::Driver;

/// What a driver can do beyond the mandatory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub resize: bool,
    #[serde(default)]
    pub modify: bool,
    pub snapshots: bool,
    pub clones: bool,
    /// Snapshots of several volumes at one instant.
    #[serde(default)]
    pub groups: bool,
    pub import: bool,
    pub staging: bool,
}

impl Capabilities {
    /// Reads the accessors.
    pub fn of(driver: &dyn Driver) -> Capabilities {
        Capabilities {
            resize: driver.resize().is_some(),
            modify: driver.modify().is_some(),
            snapshots: driver.snapshots().is_some(),
            clones: driver.snapshots().is_some_and(|s| s.clones().is_some()),
            groups: driver.snapshots().is_some_and(|s| s.groups().is_ok()),
            import: driver.import().is_some(),
            staging: driver.staging().is_some(),
        }
    }
}
