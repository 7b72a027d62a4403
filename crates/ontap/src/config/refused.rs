//! Keys that other products know and that cannot be honoured here: each with its reason.

use driver::config::{ConfigError, Section};

pub(super) fn check(keys: &mut Section) -> Result<(), ConfigError> {
    if keys.flag("useREST")? == Some(false) {
        return Err(
            keys.error("useREST", "only REST is spoken, from ONTAP 9.12.1 on; remove it or write true")
        );
    }
    if keys.flag("useBalancedPlacement")? == Some(true) {
        return Err(keys.error("useBalancedPlacement", "volumes are placed by Leister's classes; remove it"));
    }
    for key in ["aws", "gcnv"] {
        if keys.section(key)?.is_some() {
            return Err(keys.error(key, "services of a cloud are not supported; name an SVM's managementLIF"));
        }
    }
    if keys.text("nasType")?.is_some_and(|kind| !kind.eq_ignore_ascii_case("nfs")) {
        return Err(keys.error("nasType", "only nfs is served; shares over SMB are not supported"));
    }
    if keys.text("smbShare")?.is_some() {
        return Err(keys.error("smbShare", "shares over SMB are not supported; remove it"));
    }
    if keys.text("igroupName")?.is_some() {
        let problem =
            "each node has an igroup of its own, so that only nodes in use reach a volume; remove it";
        return Err(keys.error("igroupName", problem));
    }
    for key in ["replicationPolicy", "replicationSchedule"] {
        if keys.text(key)?.is_some() {
            return Err(keys.error(key, "mirrors are not supported yet; remove it"));
        }
    }
    // Periods of chores that do not exist here, as nothing waits for them: read, so that files can be taken over.
    for key in [
        "usageHeartbeat",
        "qtreeQuotaResizePeriod",
        "qtreePruneFlexvolsPeriod",
        "emptyFlexvolDeferredDeletePeriod",
    ] {
        keys.text(key)?;
    }
    keys.text("cloneSplitDelay")?;
    Ok(())
}
