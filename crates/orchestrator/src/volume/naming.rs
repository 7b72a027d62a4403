//! What a volume is called on its backend, and what is written there of whose it is.

use driver::Driver;
use model::{Handle, Labels, Subject, Template};

use crate::Result;

/// By the pool's template where there is one that `templates` allows and the backend can have the name it makes, else by
/// the volume's own name.
///
/// # Errors
/// The backend can have neither.
pub(super) fn handle(driver: &dyn Driver, subject: &Subject<'_>, templates: bool) -> Result<Handle> {
    let template = subject.pool.name_template.as_ref().filter(|_| templates);
    if let Some(named) = template.and_then(|template| template.name(subject)) {
        match driver.handle(&named) {
            Ok(handle) => return Ok(handle),
            Err(error) => {
                tracing::warn!(volume = %subject.volume, %error, "the template's name does not fit: the volume keeps its own");
            }
        }
    }
    Ok(driver.handle(subject.volume)?)
}

/// Those of the pool, templates among them filled in; the volume's own win.
pub(super) fn labels(subject: &Subject<'_>) -> Labels {
    let filled = |text: &String| Template::parse(text).map_or(text.clone(), |t| t.render(subject));
    let of_pool = subject.pool.labels.iter().map(|(key, value)| (key.clone(), filled(value)));
    let mut labels: Labels = of_pool.collect();
    labels.extend(subject.labels.clone());
    labels
}
