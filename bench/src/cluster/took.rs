//! What Leister says of its calls, in its log.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

/// How long all calls of these names took together, for each volume.
pub(super) fn took(log: &str, calls: &[&str]) -> HashMap<String, Duration> {
    let mut volumes = HashMap::<String, Duration>::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let span = &line["span"];
        let is_one = span["call"].as_str().is_some_and(|call| calls.contains(&call));
        if let (true, Some(volume), Some(took)) =
            (is_one, span["volume"].as_str(), line["took"].as_str().and_then(duration))
        {
            *volumes.entry(volume.to_owned()).or_default() += took;
        }
    }
    volumes
}

/// As `{:?}` writes it.
fn duration(text: &str) -> Option<Duration> {
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (number, unit) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_volumes_calls_are_added_up() {
        let line = |call: &str, took: Duration| {
            format!(r#"{{"took":"{took:?}","span":{{"call":"{call}","volume":"v"}}}}"#)
        };
        let log = [
            line("NodeStageVolume", Duration::from_micros(1500)),
            line("NodePublishVolume", Duration::from_secs(2)),
            line("NodePublishVolume", Duration::from_micros(7)),
            line("CreateVolume", Duration::from_secs(9)),
            "no JSON".to_owned(),
        ];
        let took = took(&log.join("\n"), &["NodeStageVolume", "NodePublishVolume"]);
        let close = (took["v"].as_secs_f64() - 2.001_507).abs() < 1e-6;
        assert!(close && took.len() == 1, "{took:?}");
    }
}
