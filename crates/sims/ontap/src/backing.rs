//! What carries out on real storage what happens to the array's objects.

use crate::state::State;

/// Real storage that follows the array's state.
pub trait Backing: Send + Sync {
    /// Makes the storage what `after` says, where it is as `before` says.
    ///
    /// # Behavior
    /// It is called before the change is answered, and blocks meanwhile. What it refuses does not happen: the array stays
    /// as it was, and the call is answered with the reason.
    ///
    /// What cannot be seen by comparing the two states is in fields of the simulator's own: `_origin` says what the
    /// content of a volume, a LUN or a namespace begins with, `_restored` and `_overwritten` say by which snapshot or LUN
    /// it was replaced; each replacement has a number of its own.
    ///
    /// # Errors
    /// A sentence for the caller.
    fn follow(&self, before: &State, after: &State) -> Result<(), String>;
}
