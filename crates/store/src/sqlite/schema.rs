//! Makes the file, and proves an existing one before anything is written to it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{damaged, explain, records, unavailable};
use crate::StoreError;

/// Says in the file's header that it is ours ("leis").
pub(super) const APPLICATION: i32 = 0x6c65_6973;

/// Counts up when the tables change.
pub(super) const FORMAT: i32 = 1;

const TABLES: &str = "
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        revision INTEGER NOT NULL,
        fence INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE record (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        value BLOB NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO head VALUES (1, 0, 0);
";

pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder(path))
        .map_err(|error| unavailable("make the store's folder", error))
}

/// The connection that writes. All fencing numbers handed out before are stale when it is returned.
pub(super) fn open_or_create(path: &Path) -> Result<Connection, StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.len() == 0 => return Err(damaged(path, "the file is empty")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => create(path)?,
        Err(error) => return Err(unavailable("open the store", error)),
    }
    let failed = |error| explain(path, "open the store", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // Else closing a damaged file would copy its log into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(1)).map_err(failed)?;
    prove(path, &connection)?;
    prepare_to_write(&connection).map_err(failed)?;
    Ok(connection)
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// The path with something after its last letter: `/x/store.db` and `.lock` give `/x/store.db.lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the whole file under another name first: a file under the store's own name is never half made.
fn create(path: &Path) -> Result<(), StoreError> {
    let log = beside(path, "-wal");
    if fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        return Err(damaged(path, format!("the file is gone, but its log `{}` is there", log.display())));
    }
    let failed = |error| unavailable("create the store", error);
    let draft = beside(path, ".new");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(&draft, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    fill(&draft).map_err(|error| explain(&draft, "create the store", error))?;
    file.sync_all().map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)?;
    File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn fill(draft: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(draft)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(TABLES)?;
    connection.close().map_err(|(_, error)| error)
}

/// Reads everything and changes nothing.
fn prove(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let failed = |error| explain(path, "check the store", error);
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(failed);
    if number("application_id")? != APPLICATION {
        return Err(damaged(path, "it is the database of another program"));
    }
    match number("user_version")? {
        FORMAT => {}
        newer if newer > FORMAT => {
            return Err(StoreError::Damaged {
                place: path.display().to_string(),
                problem: format!("its format is {newer}, and this version knows none above {FORMAT}"),
                advice: "run the version that wrote it, or a later one".to_owned(),
            });
        }
        unknown => return Err(damaged(path, format!("its format {unknown} was never in use"))),
    }
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(damaged(path, verdict));
    }
    let altered = records::read_head(connection).and_then(|_| records::find_altered(connection));
    match altered {
        Ok(None) => Ok(()),
        Ok(Some(record)) => Err(damaged(path, format!("the checksum of {record} is wrong"))),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => {
            Err(damaged(path, format!("its tables are not those of format {FORMAT}: {error}")))
        }
        Err(error) => Err(failed(error)),
    }
}

fn prepare_to_write(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // 64 MiB (in KiB): the upper pages of the tree for millions of records.
    connection.pragma_update(None, "cache_size", -65536)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    let head = records::read_head(connection)?;
    records::write_head(connection, records::Head { fence: head.fence + 1, ..head })
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
