use crate::error::Result;

/// Marks the points between which an operation can die; a test stops it at any of them.
#[derive(Debug, Default)]
pub(super) struct Steps {
    #[cfg(test)]
    left: std::sync::Mutex<Option<u32>>,
}

#[cfg(not(test))]
impl Steps {
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the test build's twin needs both")]
    pub(super) fn step(&self) -> Result<()> {
        Ok(())
    }

    #[allow(clippy::unused_self, reason = "the test build's twin needs it")]
    pub(super) fn dead(&self) -> bool {
        false
    }
}

#[cfg(test)]
impl Steps {
    /// From the `n`th step on the process counts as dead: steps fail and nothing is tidied up.
    pub(super) fn die_at(&self, n: u32) {
        *self.left.lock().unwrap() = Some(n);
    }

    pub(super) fn step(&self) -> Result<()> {
        let mut left = self.left.lock().unwrap();
        match left.as_mut() {
            Some(0) => Err(crate::FilerError::Invalid("died here".to_owned())),
            Some(n) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn dead(&self) -> bool {
        *self.left.lock().unwrap() == Some(0)
    }
}
