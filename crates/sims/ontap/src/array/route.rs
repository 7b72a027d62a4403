//! From a path to a resource.

use crate::refusal::{self, Result};
use crate::resource::Resource;
use crate::resources;
use crate::rest::params::decode;

/// A path that names a resource or one object of it.
pub(super) struct Route {
    pub resource: &'static Resource,
    /// The keys in the path: those of parents, and of the object when one is named.
    pub key: Vec<String>,
    pub instance: bool,
}

pub(super) fn route(path: &str) -> Result<Route> {
    let below = path.strip_prefix("/api/").ok_or_else(refusal::url)?;
    let parts: Vec<&str> = below.trim_end_matches('/').split('/').collect();
    for resource in resources::ALL {
        let pattern: Vec<&str> = resource.path.split('/').collect();
        let Some((head, tail)) = parts.split_at_checked(pattern.len()) else { continue };
        let instance = tail.len() == resource.keys.len();
        let fits = |(part, pattern): (&&str, &&str)| pattern.starts_with('{') || part == pattern;
        if !(instance || tail.is_empty()) || !head.iter().zip(&pattern).all(fits) {
            continue;
        }
        let parents = head.iter().zip(&pattern).filter(|(_, pattern)| pattern.starts_with('{'));
        let key =
            parents.map(|(part, _)| part).chain(tail).map(|part| decode(part)).collect::<Result<_>>()?;
        return Ok(Route { resource, key, instance });
    }
    Err(refusal::url())
}

/// The template of a path, for the log and for faults.
pub(super) fn template(path: &str) -> String {
    match route(path) {
        Ok(route) => route.resource.template(route.instance),
        Err(_) => path.strip_prefix("/api").unwrap_or(path).to_owned(),
    }
}

/// The methods that a path takes.
pub(super) fn allowed(route: &Route) -> String {
    let resource = route.resource;
    let mut methods = vec!["GET", "HEAD", "OPTIONS"];
    let more = [
        ("POST", resource.post.is_some() && !route.instance),
        ("PATCH", resource.patch.is_some()),
        ("DELETE", resource.delete.is_some()),
    ];
    methods.extend(more.iter().filter(|(_, has)| *has).map(|(method, _)| *method));
    methods.join(", ")
}
