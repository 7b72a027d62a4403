//! The part of a URL after the `?`.

use percent_encoding::percent_decode_str;

use crate::refusal::{self, Refusal, Result};
use crate::resource::Resource;
use crate::rest::filter::Filter;

/// Pages are no larger than this, whatever is asked for.
const MOST_RECORDS: usize = 10_000;
const LONGEST_WAIT: u64 = 120;

/// A parsed query.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pub fields: Option<String>,
    pub order_by: Option<String>,
    pub max_records: usize,
    pub return_records: Option<bool>,
    pub return_timeout: Option<u64>,
    /// Where the page begins: the key after which, or the number of records before it.
    pub start: Option<String>,
    pub filters: Vec<Filter>,
    /// What the resource takes besides.
    extra: Vec<(String, String)>,
    pub ignore_unknown_fields: bool,
}

impl Params {
    /// Parses a query for `resource`; `extra` are the parameters that this call of it takes besides.
    pub(crate) fn parse(query: &str, resource: &Resource, extra: &[&str]) -> Result<Self> {
        let mut params = Self { max_records: MOST_RECORDS, ..Self::default() };
        let mut seen = Vec::new();
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if seen.contains(&name) {
                return Err(refusal::twice(&name));
            }
            seen.push(name.clone());
            match name.as_str() {
                "fields" => params.fields = Some(value).filter(|fields| !fields.is_empty()),
                "order_by" | "$orderBy" => params.order_by = Some(value),
                "max_records" => {
                    let most: usize = parse_number(&name, &value)?;
                    params.max_records = if most == 0 { MOST_RECORDS } else { most.min(MOST_RECORDS) };
                }
                "return_records" => params.return_records = Some(parse_flag(&name, &value)?),
                "return_timeout" => {
                    let seconds: u64 = parse_number(&name, &value)?;
                    if seconds > LONGEST_WAIT {
                        return Err(refusal::invalid(&name, &value, "<integer 0..120>"));
                    }
                    params.return_timeout = Some(seconds);
                }
                "ignore_unknown_fields" => params.ignore_unknown_fields = parse_flag(&name, &value)?,
                "start.at" => params.start = Some(value),
                other if extra.contains(&other) => params.extra.push((name, value)),
                _ => others.push((name, value)),
            }
        }
        let schema = resource.schema();
        for (name, value) in others {
            if schema.field(&name).is_some() {
                params.filters.push(Filter::parse(&name, &value));
            } else if !params.ignore_unknown_fields {
                return Err(refusal::unexpected(&name));
            }
        }
        Ok(params)
    }

    /// A parameter that only this resource has.
    pub(crate) fn extra(&self, name: &str) -> Option<&str> {
        self.extra.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter that only this resource has is `true`.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.extra(name) == Some("true")
    }
}

pub(crate) fn decode(text: &str) -> Result<String> {
    // A plus sign is itself: ONTAP's clients write %20.
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| Refusal::new(400, 39_387_137, "A provided URL is not valid."))
}

fn parse_number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N> {
    value.parse().map_err(|_| refusal::invalid(name, value, "<integer>"))
}

fn parse_flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(refusal::invalid(name, value, "<true|false>")),
    }
}
