//! The statements that read and write records.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::{Entry, Key, Kind, Revision};

/// The newest revision and the fencing number that writes must present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: u64,
    pub(super) fence: u64,
}

pub(super) fn read_head(connection: &Connection) -> Result<Head> {
    connection.prepare_cached("SELECT revision, fence FROM head")?.query_row([], |row| {
        Ok(Head {
            revision: row.get::<_, i64>(0)?.cast_unsigned(),
            fence: row.get::<_, i64>(1)?.cast_unsigned(),
        })
    })
}

pub(super) fn write_head(connection: &Connection, head: Head) -> Result<()> {
    connection
        .prepare_cached("UPDATE head SET revision = ?, fence = ?")?
        .execute([head.revision.cast_signed(), head.fence.cast_signed()])
        .map(drop)
}

pub(super) fn list(connection: &Connection, kind: Kind) -> Result<Vec<Entry>> {
    connection
        .prepare_cached("SELECT id, revision, value, checksum FROM record WHERE kind = ? ORDER BY id")?
        .query_map([kind], |row| entry(kind, row))?
        .collect()
}

pub(super) fn find(connection: &Connection, key: &Key) -> Result<Option<Entry>> {
    connection
        .prepare_cached("SELECT id, revision, value, checksum FROM record WHERE kind = ? AND id = ?")?
        .query_row([key.kind, &key.id], |row| entry(key.kind, row))
        .optional()
}

pub(super) fn find_revision(connection: &Connection, key: &Key) -> Result<Option<Revision>> {
    connection
        .prepare_cached("SELECT revision FROM record WHERE kind = ? AND id = ?")?
        .query_row([key.kind, &key.id], |row| row.get::<_, i64>(0))
        .optional()
        .map(|found| found.map(|number| Revision(number.cast_unsigned())))
}

pub(super) fn put(connection: &Connection, key: &Key, revision: Revision, value: &[u8]) -> Result<()> {
    let id: &str = &key.id;
    let checksum = checksum(key.kind, id, revision, value);
    connection
        .prepare_cached("REPLACE INTO record (kind, id, revision, value, checksum) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![key.kind, id, revision.0.cast_signed(), value, checksum])
        .map(drop)
}

pub(super) fn delete(connection: &Connection, key: &Key) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM record WHERE kind = ? AND id = ?")?
        .execute([key.kind, &key.id])
        .map(drop)
}

/// Reads every record and names the first whose bytes are not those that were written.
pub(super) fn find_altered(connection: &Connection) -> Result<Option<String>> {
    let mut statement = connection.prepare("SELECT id, revision, value, checksum, kind FROM record")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let kind = row.get_ref(4)?.as_str()?;
        if !is_intact(kind, row)? {
            return Ok(Some(format!("{kind} `{}`", row.get_ref(0)?.as_str()?)));
        }
    }
    Ok(None)
}

fn entry(kind: Kind, row: &Row<'_>) -> Result<Entry> {
    if !is_intact(kind, row)? {
        let problem = format!("the checksum of {kind} `{}` is wrong", row.get_ref(0)?.as_str()?);
        return Err(rusqlite::Error::FromSqlConversionFailure(2, Type::Blob, problem.into()));
    }
    Ok(Entry {
        key: Key { kind, id: row.get(0)? },
        revision: Revision(row.get::<_, i64>(1)?.cast_unsigned()),
        value: row.get(2)?,
    })
}

fn is_intact(kind: &str, row: &Row<'_>) -> Result<bool> {
    let id = row.get_ref(0)?.as_str()?;
    let revision = Revision(row.get::<_, i64>(1)?.cast_unsigned());
    let checksum = checksum(kind, id, revision, row.get_ref(2)?.as_blob()?);
    Ok(row.get::<_, i64>(3)? == i64::from(checksum))
}

/// SQLite proves the structure of the file only; this proves the content.
fn checksum(kind: &str, id: &str, revision: Revision, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [kind.as_bytes(), &[0], id.as_bytes(), &[0], &revision.0.to_le_bytes(), value] {
        hasher.update(part);
    }
    hasher.finalize()
}
