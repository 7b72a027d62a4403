//! What goes to a person's or a script's standard output.

mod cells;
mod rows;

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::cli::{Code, Failure};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    /// A table with more columns
    Wide,
    Json,
    Yaml,
    /// kind/name, one a line
    Name,
}

/// Something that has a row in a table.
pub(crate) trait Shown: Serialize {
    /// Singular, as it stands before a name.
    const KIND: &'static str;

    fn name(&self) -> String;

    fn header(wide: bool) -> Vec<&'static str>;

    fn row(&self, wide: bool) -> Vec<String>;
}

/// Shows items; `alone` makes JSON and YAML an object, not a list.
pub(crate) fn items<T: Shown>(items: &[T], format: Format, alone: bool) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide => table(items, format == Format::Wide)?,
        Format::Name => {
            for item in items {
                line(&format!("{}/{}", T::KIND, item.name()))?;
            }
        }
        Format::Json => match items {
            [item] if alone => line(&json(item)?)?,
            _ => line(&json(&List { items })?)?,
        },
        Format::Yaml => match items {
            [item] if alone => raw(yaml(item)?.as_bytes())?,
            _ => raw(yaml(&List { items })?.as_bytes())?,
        },
    }
    Ok(())
}

pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// For a person beside the output: to standard error.
pub(crate) fn note(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{text}")
}

#[derive(Serialize)]
struct List<'a, T> {
    items: &'a [T],
}

/// Columns as kubectl has them: no borders, three blanks between.
fn table<T: Shown>(items: &[T], wide: bool) -> io::Result<()> {
    if items.is_empty() {
        return note(&format!("no {} found", plural(T::KIND)));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(T::header(wide));
    for item in items {
        table.add_row(item.row(wide));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    for row in table.lines() {
        line(row.trim_end())?;
    }
    Ok(())
}

fn plural(kind: &str) -> String {
    match kind.strip_suffix("ss") {
        Some(_) => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(unwritable)
}

fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Failed, format!("cannot write the output: {error}"))
}
