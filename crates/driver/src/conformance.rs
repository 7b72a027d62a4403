//! Proofs of the contract: one suite for every family.
//!
//! A family implements [`Fixture`] for its own array and writes, in a file of `tests/`,
//! `driver::conformance!(fixture().await);`: that makes one test per proof. Each gets an array of its own. What a
//! driver does not claim is skipped with a line that says so.

pub mod claims;
pub mod clones;
pub mod groups;
pub mod growth;
pub mod imports;
pub mod interruptions;
pub mod modifications;
pub mod permits;
pub mod snapshots;
pub mod staging;
mod trial;
pub mod volumes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{Bytes, InstanceId, Layout, NodeIdentity, Route, VolumeOption, VolumeOptions};

use crate::Driver;

pub use trial::Trial;

/// A small array, empty at first, and a driver opened on it.
///
/// # Behavior
/// Dropping it removes whatever was made. It may panic where it cannot do its part.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The driver as it is open now.
    fn driver(&self) -> Arc<dyn Driver>;

    /// Closes the driver and opens it again, as a restart would.
    async fn reopen(&self);

    /// What the volumes of this suite are to be.
    fn layout(&self) -> Layout;

    /// Nodes that the driver can permit; at least one.
    fn nodes(&self) -> Vec<NodeIdentity>;

    /// What the driver can change of such volumes; nothing, if it cannot.
    fn changes(&self) -> VolumeOptions {
        match self.layout() {
            Layout::File => VolumeOptions::from([(VolumeOption::UnixPermissions, "0750".to_owned())]),
            Layout::Block => VolumeOptions::new(),
        }
    }

    /// An application writes this number, so that it is durable.
    async fn write(&self, route: &Route, content: u64);

    /// What an application reads.
    async fn read(&self, route: &Route) -> u64;

    /// Puts a volume on the array that is another instance's or nobody's. False: there can be no such thing.
    async fn plant(&self, name: &str, size: Bytes, owner: Option<&InstanceId>, content: u64) -> bool;

    /// The content of a planted volume, asked of the array itself.
    async fn planted(&self, name: &str) -> Option<u64>;
}

/// Longest that one proof may take: far more than any needs, also in a guest on a starved machine.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs one proof on an array of its own.
///
/// # Panics
/// When the proof fails or does not end.
pub fn prove<F: Fixture + 'static>(fixture: impl AsyncFnOnce() -> F, proof: impl AsyncFnOnce(&Trial)) {
    // Declared first, so dropped last: nothing runs any more when the array is taken down.
    let trial;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("no runtime: {e}"));
    trial = Trial::new(Box::new(runtime.block_on(fixture())));
    runtime.block_on(async {
        if tokio::time::timeout(LIMIT, proof(&trial)).await.is_err() {
            panic!("the proof has not ended after {LIMIT:?}");
        }
    });
    drop(runtime);
}

/// Says aloud that a proof has not run.
#[allow(clippy::print_stdout, reason = "a skipped test says why, to the person who runs it")]
pub fn skipped(reason: impl std::fmt::Display) {
    println!("skipped: {reason}");
}

/// Makes one test per proof of the suite; the expression makes the [`Fixture`](crate::conformance::Fixture) and
/// may await. What follows `unless` may say why this machine cannot run them.
#[macro_export]
macro_rules! conformance {
    ($fixture:expr) => {
        $crate::conformance! { $fixture, unless None::<&str> }
    };
    ($fixture:expr, unless $reason:expr) => {
        $crate::conformance! { @tests $fixture, $reason;
            claims:
                pools_add_up,
                pools_offer_what_the_driver_can_do,
                identity_is_constant_and_handles_are_pure,
                everything_is_still_known_after_a_restart;
            volumes:
                a_created_volume_is_observed_listed_and_counted,
                creating_twice_changes_nothing,
                the_same_handle_for_another_volume_is_a_conflict,
                sizes_are_rounded_up_to_the_pools_granularity,
                deleting_what_is_absent_changes_nothing,
                a_permitted_volume_is_not_deleted,
                foreign_volumes_are_never_touched,
                a_full_pool_names_what_is_free_and_leaves_nothing,
                a_deleted_volume_comes_back_empty,
                thirty_two_creates_at_once_all_succeed;
            permits:
                permitting_is_idempotent_and_observed,
                forbidding_is_idempotent_and_fine_with_what_is_absent,
                nodes_are_permitted_one_by_one,
                content_stays_when_permits_change,
                only_what_exists_is_permitted,
                an_exclusive_permit_excludes_others;
            staging:
                a_volume_in_use_once_is_marked_for_good,
                the_mark_goes_with_the_data;
            growth:
                a_volume_grows_while_in_use_and_never_shrinks,
                growth_past_the_pool_is_refused_and_changes_nothing,
                only_what_exists_grows;
            modifications:
                options_change_while_the_volume_is_in_use,
                what_cannot_change_is_refused_by_name_and_changes_nothing,
                only_what_exists_is_modified;
            snapshots:
                a_snapshot_is_taken_once_and_listed,
                deleting_a_snapshot_twice_changes_nothing,
                a_snapshot_keeps_the_content_of_its_instant,
                restoring_brings_back_the_content_and_keeps_all_snapshots,
                a_permitted_volume_is_not_restored,
                a_snapshot_goes_with_its_volume,
                what_is_absent_has_no_snapshots;
            groups:
                a_group_snapshot_is_of_one_instant_and_taken_once,
                each_member_of_a_group_is_a_snapshot_as_any_other,
                a_group_snapshot_is_of_all_members_or_of_none,
                a_deleted_group_leaves_nothing_and_the_volumes_alone;
            clones:
                a_clone_of_a_snapshot_has_its_content_and_lives_alone,
                a_clone_of_the_live_volume_has_its_content_and_lives_alone,
                a_source_outlives_its_clones,
                a_clone_may_be_larger_but_not_smaller,
                cloning_twice_changes_nothing,
                a_clone_needs_its_source;
            imports:
                an_imported_volume_is_ours_with_its_content,
                importing_twice_changes_nothing,
                another_instances_volume_is_not_imported,
                an_import_never_overwrites,
                what_is_absent_is_not_imported;
            interruptions:
                an_interrupted_create_can_be_repeated,
                an_interrupted_delete_can_be_repeated,
                an_interrupted_permit_can_be_repeated,
                an_interrupted_forbid_can_be_repeated,
                an_interrupted_grow_can_be_repeated,
                an_interrupted_modification_can_be_repeated,
                an_interrupted_snapshot_can_be_repeated,
                an_interrupted_snapshot_deletion_can_be_repeated,
                an_interrupted_group_snapshot_can_be_repeated,
                an_interrupted_group_snapshot_can_be_taken_back,
                an_interrupted_restore_can_be_repeated,
                an_interrupted_clone_can_be_repeated,
                an_interrupted_import_can_be_repeated;
        }
    };
    (@tests $fixture:expr, $reason:expr; $($group:ident: $($proof:ident),+;)+) => {
        $($(
            #[test]
            fn $proof() {
                if let Some(reason) = $reason {
                    return $crate::conformance::skipped(reason);
                }
                $crate::conformance::prove(async || $fixture, $crate::conformance::$group::$proof);
            }
        )+)+
    };
}
