use super::Pool;
use crate::error::{ErrorKind, Result};
use crate::volume::Outcome;

impl Pool {
    /// Deletes a volume and its snapshots.
    ///
    /// # Errors
    /// `InUse` while it is permitted to a node: then its snapshots stay too.
    pub fn delete_whole(&self, handle: &str) -> Result<Outcome<()>> {
        let refusal = match self.delete(handle) {
            // Permits and owner have been checked by now.
            Err(error) if error.kind() == ErrorKind::InUse => error,
            done => return done,
        };
        let Some(state) = self.find(handle)? else { return Ok(Outcome::Unchanged(())) };
        if !state.permits.is_empty() {
            return Err(refusal);
        }
        for snapshot in self.list_snapshots(handle)? {
            self.delete_snapshot(handle, &snapshot.name)?;
        }
        self.delete(handle)
    }
}
