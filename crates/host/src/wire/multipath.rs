//! Several paths as one device, through multipathd.

use std::time::{Duration, Instant};

use crate::device::block;
use crate::error::{HostError, Result};
use crate::filesystem::Tools;
use crate::stage::Places;

/// How long multipathd may take to make a map of paths it was told of.
const MAP_LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// Whether multipathd answers on this node.
pub(crate) async fn runs(tools: &Tools) -> bool {
    tools.quick("multipathd").args(["show", "daemon"]).run().await.is_ok_and(|o| o.stdout.starts_with("pid "))
}

/// The map over a path, if there is one.
pub(crate) fn over(path: &str) -> Option<String> {
    block::holders(path)
        .into_iter()
        .find(|name| block::attribute_of(name, "dm/uuid").is_some_and(|uuid| uuid.starts_with("mpath-")))
}

/// The map over these paths, made if it is not there.
///
/// # Behavior
/// A map is wanted whatever `find_multipaths` says, also while only one path is there: the unit is written into the
/// list of those that are multipathed (`multipath -a`), and multipathd is told of each path.
pub(crate) async fn join(places: &Places, paths: &[String], tools: &Tools) -> Result<String> {
    let since = Instant::now();
    let mut told = false;
    loop {
        let joined: Vec<Option<String>> = paths.iter().map(|p| over(p)).collect();
        if let Some(Some(map)) = joined.first()
            && joined.iter().all(|m| m.as_ref() == Some(map))
        {
            return Ok(map.clone());
        }
        if !told {
            told = true;
            for (path, map) in paths.iter().zip(&joined) {
                if map.is_none() {
                    tools
                        .quick("multipath")
                        .args(["-a", &format!("/dev/{path}")])
                        .accept(&[0, 1])
                        .run()
                        .await?;
                    tools.quick("multipathd").args(["add", "path", path]).accept(&[0, 1]).run().await?;
                }
            }
        }
        if since.elapsed() > MAP_LIMIT {
            return Err(HostError::Unsupported {
                volume: places.volume.clone(),
                problem: format!(
                    "multipathd made no single map of its paths {}; see `multipath -ll -v3` for what its \
                     configuration keeps out, or ask for a single path",
                    paths.join(", ")
                ),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes a map down. One in use stays, and is an error.
pub(crate) async fn flush(map: &str, tools: &Tools) -> Result<()> {
    let Some(name) = block::attribute_of(map, "dm/name") else { return Ok(()) };
    let output = tools.quick("multipath").args(["-f", &name]).accept(&[0, 1]).run().await?;
    if block::attribute_of(map, "dm/name").as_deref() == Some(&name) {
        return Err(HostError::System {
            doing: format!("take down the multipath map {name}"),
            hint: format!("it is still there; {}", output.stdout),
            source: std::io::ErrorKind::ResourceBusy.into(),
        });
    }
    Ok(())
}
