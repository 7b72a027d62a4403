//! What is asked for, checked field by field and made the orchestrator's.

use std::fmt::Display;
use std::str::FromStr;

use api::{ImportRequest, Quantity, SourceView, VolumeCreate};
use model::{Bytes, Filesystem, Layout, NoUnit, Source, VolumeOption, VolumeOptions};
use orchestrator::CreateRequest;

use crate::status::{Refusal, Result};

/// A text as one of our words or names; `field` is where it stood.
pub(crate) fn parse<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T> {
    text.parse().map_err(|e: T::Err| Refusal::invalid(e.to_string()).field(field))
}

pub(crate) fn size(field: &str, quantity: &Quantity) -> Result<Bytes> {
    Bytes::parse(quantity.as_str(), NoUnit::Bytes).map_err(|e| Refusal::invalid(e.to_string()).field(field))
}

pub(crate) fn create(wanted: VolumeCreate) -> Result<CreateRequest> {
    let mut request = CreateRequest::named(parse("name", &wanted.name)?);
    request.size = wanted.size.as_ref().map(|quantity| size("size", quantity)).transpose()?;
    request.class = maybe("class", wanted.class.as_deref())?;
    request.layout = maybe("layout", wanted.layout.as_deref())?;
    (request.layout, request.filesystem) = on_it(request.layout, wanted.filesystem.as_deref())?;
    request.access = maybe("access", wanted.access.as_deref())?;
    request.provisioning = maybe("provisioning", wanted.provisioning.as_deref())?;
    request.source = wanted.source.as_ref().map(source).transpose()?;
    request.backend = maybe("backend", wanted.backend.as_deref())?;
    request.pool = maybe("pool", wanted.pool.as_deref())?;
    request.parameters = wanted.parameters.into_iter().collect();
    request.options = options(&wanted.options)?;
    request.mount_options = wanted.mount_options;
    request.labels = wanted.labels;
    Ok(request)
}

pub(crate) fn import(wanted: ImportRequest) -> Result<orchestrator::ImportRequest> {
    Ok(orchestrator::ImportRequest {
        volume: parse("name", &wanted.name)?,
        backend: parse("backend", &wanted.backend)?,
        original: wanted.original,
        class: maybe("class", wanted.class.as_deref())?,
        filesystem: maybe("filesystem", wanted.filesystem.as_deref())?,
        labels: wanted.labels,
    })
}

/// `raw` is a device without a file system; a file system by name asks for a device that carries it.
fn on_it(layout: Option<Layout>, filesystem: Option<&str>) -> Result<(Option<Layout>, Option<Filesystem>)> {
    match (layout, filesystem) {
        (layout, None) => Ok((layout, None)),
        (Some(Layout::File), Some(text)) => {
            Err(Refusal::invalid(format!("filesystem is `{text}`, but a volume of layout `file` has none"))
                .field("filesystem")
                .hint("leave it out, or ask for layout `block`"))
        }
        (_, Some("raw")) => Ok((Some(Layout::Block), None)),
        (_, Some(text)) => Ok((Some(Layout::Block), Some(parse("filesystem", text)?))),
    }
}

fn source(wanted: &SourceView) -> Result<Source> {
    Ok(Source {
        volume: parse("source.volume", &wanted.volume)?,
        snapshot: maybe("source.snapshot", wanted.snapshot.as_deref())?,
    })
}

pub(crate) fn options(wanted: &std::collections::BTreeMap<String, String>) -> Result<VolumeOptions> {
    wanted
        .iter()
        .map(|(key, value)| Ok((parse::<VolumeOption>(&format!("options.{key}"), key)?, value.clone())))
        .collect()
}

fn maybe<T: FromStr<Err: Display>>(field: &str, text: Option<&str>) -> Result<Option<T>> {
    text.map(|text| parse(field, text)).transpose()
}
