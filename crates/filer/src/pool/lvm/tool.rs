//! LVM's own tools: it has no other interface that is kept.

use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::{Context, FilerError, Result};

/// One logical volume as `lvs` shows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) lv_name: String,
    pub(super) lv_tags: String,
    pub(super) lv_size: String,
    pub(super) data_percent: String,
    pub(super) metadata_percent: String,
    pub(super) lv_health_status: String,
    pub(super) pool_lv: String,
    pub(super) lv_attr: String,
    pub(super) lv_device_open: String,
    pub(super) lv_active: String,
    pub(super) zero: String,
    pub(super) vg_extent_size: String,
}

#[derive(Deserialize)]
struct Report {
    report: Vec<Rows>,
}

#[derive(Deserialize)]
struct Rows {
    lv: Vec<Row>,
}

const COLUMNS: &str = "lv_name,lv_tags,lv_size,data_percent,metadata_percent,lv_health_status,pool_lv,lv_attr,lv_device_open,\
                       lv_active,zero,vg_extent_size";

/// All logical volumes of a group.
pub(super) fn rows(group: &str) -> Result<Vec<Row>> {
    let text = run(&[
        "lvs",
        "--reportformat",
        "json",
        "--units",
        "b",
        "--nosuffix",
        "--binary",
        "-o",
        COLUMNS,
        group,
    ])?;
    let report: Report = serde_json::from_str(&text)
        .map_err(std::io::Error::from)
        .while_doing("read what lvs says of", group)?;
    Ok(report.report.into_iter().flat_map(|rows| rows.lv).collect())
}

/// Runs `lvm` with these words; one call is one change of the group's metadata, whole or not at all.
pub(super) fn run(words: &[&str]) -> Result<String> {
    let output = Command::new("timeout")
        .args(["--kill-after=10", "120", "lvm"])
        .args(words)
        .env("LC_ALL", "C")
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .stdin(Stdio::null())
        .output()
        .while_doing("run lvm for", words.last().copied().unwrap_or_default())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = said.join("; ");
    let what = words.first().copied().unwrap_or_default();
    Err(if output.status.code() == Some(127) {
        FilerError::Unsupported("lvm is not installed; install the package lvm2".to_owned())
    } else if said.contains("kernel device-mapper driver") {
        FilerError::Unsupported(
            "this kernel has no device-mapper; use one with dm-mod and dm-thin-pool".to_owned(),
        )
    } else if said.contains("not found") || said.contains("Failed to find") {
        FilerError::NotFound(format!("{what} failed: {said}; look at `vgs` and `lvs`"))
    } else if said.contains("nsufficient") || said.contains("free space") {
        FilerError::NoCapacity(format!("{what} failed: {said}; delete volumes or enlarge the pool"))
    } else if said.contains("in use") {
        FilerError::InUse(format!("{what} failed: {said}; stop its users first"))
    } else {
        FilerError::Unsupported(format!("{what} failed: {said}"))
    })
}
