//! A volume from nothing, from a snapshot or from another volume.

use std::time::Duration;

use model::{Bytes, Source, Topology};
use orchestrator::{Answer, CreateRequest, Request};
use tonic::Status;

use crate::capability::{Use, Uses};
use crate::plugin::{Service, volume_id};
use crate::wire::validate_volume_capabilities_response::Confirmed;
use crate::wire::volume_content_source::Type;
use crate::wire::{
    CapacityRange, CreateVolumeRequest, CreateVolumeResponse, TopologyRequirement,
    ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse, VolumeContentSource,
};
use crate::{names, parameters, shown, status};

/// A size wished for: at least and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) least: Option<Bytes>,
    pub(super) most: Option<Bytes>,
}

impl Range {
    /// # Errors
    /// `INVALID_ARGUMENT` for a size below zero, `OUT_OF_RANGE` where nothing lies between the two.
    pub(super) fn read(range: Option<&CapacityRange>) -> Result<Range, Status> {
        let Some(range) = range else { return Ok(Range::default()) };
        let size = |field: &str, bytes: i64| match u64::try_from(bytes) {
            Ok(0) => Ok(None),
            Ok(bytes) => Ok(Some(Bytes::new(bytes))),
            Err(_) => Err(Status::invalid_argument(format!("{field} `{bytes}` is below zero"))),
        };
        let least = size("required_bytes", range.required_bytes)?;
        let most = size("limit_bytes", range.limit_bytes)?;
        match (least, most) {
            (Some(least), Some(most)) if least > most => Err(Status::out_of_range(format!(
                "required_bytes is {least}, which is more than limit_bytes, {most}"
            ))),
            _ => Ok(Range { least, most }),
        }
    }

    pub(super) fn has(self, size: Bytes) -> bool {
        self.least.is_none_or(|least| size >= least) && self.most.is_none_or(|most| size <= most)
    }

    /// # Errors
    /// `OUT_OF_RANGE`: storage rounds sizes up, to more than is allowed.
    pub(super) fn check(self, size: Bytes) -> Result<(), Status> {
        match self.most.filter(|most| size > *most) {
            Some(most) => {
                Err(Status::out_of_range(format!("the volume would have {size}; limit_bytes is {most}")))
            }
            None => Ok(()),
        }
    }
}

/// # Behavior
/// The same wish for a volume that exists is answered with it.
///
/// # Errors
/// `ALREADY_EXISTS` for another wish of the same name, `OUT_OF_RANGE` for a size that no pool can give within its
/// limit, and all that the orchestrator objects to.
pub(super) async fn create(
    service: &Service,
    request: &CreateVolumeRequest,
    limit: Duration,
) -> Result<CreateVolumeResponse, Status> {
    let orchestrator = &service.orchestrator;
    let volume = names::volume(&request.name)?;
    let range = Range::read(request.capacity_range.as_ref())?;
    let uses = Uses::read(&request.volume_capabilities)?;
    let mut wish = CreateRequest::named(volume.clone());
    parameters::read(&mut wish, &request.parameters)?;
    wish.options.extend(parameters::options(&request.mutable_parameters)?);
    wish.layout = uses.layout;
    wish.filesystem = uses.filesystem;
    wish.access = Some(uses.access);
    wish.mount_options.extend(uses.mount_options);
    wish.topologies = topologies(request.accessibility_requirements.as_ref());
    wish.source = request.volume_content_source.as_ref().map(source).transpose()?;
    wish.size = range.least;

    let before = orchestrator.catalogue().volume(&volume);
    if let Some(before) = before.filter(|before| shown::is_there(before)) {
        if let Some(misfit) =
            request.volume_capabilities.iter().find_map(|c| Use::read(Some(c)).ok()?.misfit(&before))
        {
            return Err(Status::already_exists(format!("volume `{volume}` exists and differs: {misfit}")));
        }
        if range.has(before.spec.size) {
            wish.size = Some(before.spec.size);
        }
    } else {
        fit(service, &mut wish, range).await?;
    }
    let created = orchestrator.run_patiently(Request::Create(Box::new(wish)), limit).await;
    let record = created.and_then(Answer::volume).map_err(status::refused)?;
    if !range.has(record.spec.size) {
        let problem =
            format!("volume `{volume}` exists and has {}, which was not asked for", record.spec.size);
        return Err(Status::already_exists(problem));
    }
    Ok(CreateVolumeResponse { volume: Some(shown::volume(&record, &service.places().await?)) })
}

/// # Behavior
/// Uses that do not fit leave `confirmed` out and say why.
///
/// # Errors
/// `NOT_FOUND`, and uses that cannot be read.
pub(super) async fn validate(
    service: &Service,
    request: ValidateVolumeCapabilitiesRequest,
    limit: Duration,
) -> Result<ValidateVolumeCapabilitiesResponse, Status> {
    volume_id(&request.volume_id)?;
    Uses::read(&request.volume_capabilities)?;
    let record = service.volume(&request.volume_id, limit).await?;
    for capability in &request.volume_capabilities {
        if let Some(misfit) = Use::read(Some(capability))?.misfit(&record) {
            let message = format!("volume `{}` cannot be used so: {misfit}", record.id);
            return Ok(ValidateVolumeCapabilitiesResponse { confirmed: None, message });
        }
    }
    let options = parameters::options(&request.mutable_parameters)?;
    if let Some((option, value)) =
        options.iter().find(|(option, value)| record.spec.options.get(option) != Some(value))
    {
        let message = format!("volume `{}` does not have {option} `{value}`", record.id);
        return Ok(ValidateVolumeCapabilitiesResponse { confirmed: None, message });
    }
    let confirmed = Confirmed {
        volume_context: request.volume_context,
        volume_capabilities: request.volume_capabilities,
        parameters: request.parameters,
        mutable_parameters: request.mutable_parameters,
    };
    Ok(ValidateVolumeCapabilitiesResponse { confirmed: Some(confirmed), message: String::new() })
}

/// Sees that rounding keeps within the limit, before anything is made.
async fn fit(service: &Service, wish: &mut CreateRequest, range: Range) -> Result<(), Status> {
    let Some(most) = range.most else { return Ok(()) };
    let rooms = service.orchestrator.room(wish).await.map_err(status::refused)?;
    let sizes = rooms.iter().map(|room| {
        let least = range.least.unwrap_or_else(|| room.pool.default_size.min(most));
        least.max(room.pool.smallest).round_up(room.pool.granularity)
    });
    let Some(smallest) = sizes.min() else { return Ok(()) };
    range.check(smallest)?;
    if range.least.is_none() {
        wish.size = Some(smallest);
    }
    Ok(())
}

fn source(source: &VolumeContentSource) -> Result<Source, Status> {
    match &source.r#type {
        None => Err(Status::invalid_argument("volume_content_source has no type")),
        Some(Type::Volume(from)) => {
            let missing = || Status::not_found(format!("there is no volume `{}` to clone", from.volume_id));
            let volume = volume_id(&from.volume_id)?.ok_or_else(missing)?;
            Ok(Source { volume, snapshot: None })
        }
        Some(Type::Snapshot(from)) => {
            let missing = || Status::not_found(format!("there is no snapshot `{}`", from.snapshot_id));
            let (volume, name) = shown::parse_snapshot_id(&from.snapshot_id).ok_or_else(missing)?;
            Ok(Source { volume, snapshot: Some(name) })
        }
    }
}

/// Preferred ones first.
fn topologies(wanted: Option<&TopologyRequirement>) -> Vec<Topology> {
    let Some(wanted) = wanted else { return Vec::new() };
    let all = wanted.preferred.iter().chain(&wanted.requisite);
    let mut topologies: Vec<Topology> = Vec::new();
    for topology in all.map(|topology| topology.segments.clone().into_iter().collect()) {
        if !topologies.contains(&topology) {
            topologies.push(topology);
        }
    }
    topologies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_kept() {
        let read = |required_bytes, limit_bytes| {
            Range::read(Some(&CapacityRange { required_bytes, limit_bytes })).map_err(|status| status.code())
        };
        assert_eq!(read(0, 0), Ok(Range::default()));
        assert_eq!(read(2, 1), Err(tonic::Code::OutOfRange));
        assert_eq!(read(-1, 0), Err(tonic::Code::InvalidArgument));
        let range = read(4096, 8192).unwrap();
        assert!(range.has(Bytes::new(8192)) && !range.has(Bytes::new(8193)) && !range.has(Bytes::new(4095)));
        assert!(range.check(Bytes::new(8192)).is_ok() && range.check(Bytes::new(8193)).is_err());
    }
}
