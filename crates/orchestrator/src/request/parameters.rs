//! What a StorageClass says of a volume, in whatever way its user reaches us.

use model::{ClassName, VolumeOption};

use super::CreateRequest;
use crate::{Error, Result};

/// Ours and Trident's.
const PREFIXES: [&str; 2] = ["leister.io/", "trident.netapp.io/"];
const CLASS: &str = "class";

/// A parameter's own name, where `leister.io/` or `trident.netapp.io/` stands before it.
pub fn without_prefix(key: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key)
}

impl CreateRequest {
    /// Takes a parameter over: `class` names one of our classes, a word for one volume is an option, and everything
    /// else is in the grammar of classes.
    ///
    /// # Errors
    /// `Invalid` for a name that no class can have. What is unknown is told when the volume is asked for.
    pub fn take_parameter(&mut self, key: &str, value: &str) -> Result<()> {
        let plain = without_prefix(key);
        if plain == CLASS {
            let class = ClassName::new(value);
            self.class = Some(class.map_err(|e| Error::invalid(format!("parameter `{key}`: {e}")))?);
        } else if let Ok(option) = plain.parse::<VolumeOption>() {
            self.options.insert(option, value.to_owned());
        } else {
            self.parameters.push((key.to_owned(), value.to_owned()));
        }
        Ok(())
    }
}
