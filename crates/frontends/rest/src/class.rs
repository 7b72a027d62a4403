use api::ClassCreate;
use model::{Class, ClassName};

/// A class whose name or parameters do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ClassProblem {
    pub field: &'static str,
    pub problem: String,
}

/// A class as a person wrote it, understood.
///
/// # Errors
/// An illegal name, or a parameter that is unknown or has a value that does not fit.
pub fn class(wanted: ClassCreate) -> Result<Class, ClassProblem> {
    let name =
        ClassName::new(&wanted.name).map_err(|e| ClassProblem { field: "name", problem: e.to_string() })?;
    let class = Class { name, parameters: wanted.parameters, mount_options: wanted.mount_options };
    class.wishes().map_err(|e| ClassProblem { field: "parameters", problem: e.to_string() })?;
    Ok(class)
}
