//! Opens the file of the access store: creates it on first use with owner-only permissions, and migrates its schema.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool, Transaction};

use super::error::StoreError;
use super::file_identity::FileIdentity;
use super::location::StoreLocation;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The `PRAGMA application_id` of a store; the first migration sets the same number.
const APPLICATION_ID: i32 = 0x6c6b_6774;

/// The time that a writer waits for another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An open access store. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Store {
    /// For reads. Separate from the writer, so that a change that waits for another process does not delay lookups.
    readers: SqlitePool,
    /// A single connection, because the changes of one process are serialised anyway.
    writer: SqlitePool,
    location: StoreLocation,
    changes: Arc<AtomicU64>,
    identity: Arc<FileIdentity>,
}

impl Store {
    /// Opens the store, and creates it if it does not exist.
    pub async fn open(location: &StoreLocation) -> Result<Self, StoreError> {
        create_file(location.path())?;
        let identity = Arc::new(FileIdentity::new(location.path()));
        let options = SqliteConnectOptions::new()
            .filename(location.path())
            .create_if_missing(false)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            // A printed token must survive a power failure.
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        prepare(&options, location.path()).await?;

        Ok(Self {
            readers: pool(4, options.clone(), &identity),
            writer: pool(1, options, &identity),
            location: location.clone(),
            changes: Arc::default(),
            identity,
        })
    }

    /// The location of the store.
    pub fn location(&self) -> &StoreLocation {
        &self.location
    }

    /// Closes all connections. Clones become unusable.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.readers
    }

    pub(super) fn identity(&self) -> &FileIdentity {
        &self.identity
    }

    /// The number of changes that this handle and its clones have made or noticed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Counts a change. Call it after the commit, so that a reader who reads the count before the store either sees the
    /// change or has an old count.
    pub(super) fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Begins a write transaction with the write lock held, so that values read first still hold when it writes. Only a
    /// [`super::writer::StoreTransaction`] may write what affects access decisions.
    pub(super) async fn begin_write(&self) -> Result<Transaction<'static, sqlx::Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Commits a change that can affect access decisions.
    pub(super) async fn commit(&self, change: Transaction<'static, sqlx::Sqlite>) -> Result<(), StoreError> {
        let committed = change.commit().await;
        self.count_change();
        Ok(committed?)
    }
}

fn pool(connections: u32, options: SqliteConnectOptions, identity: &Arc<FileIdentity>) -> SqlitePool {
    let identity = Arc::clone(identity);
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            // A connection from before the file was replaced still reads the old file, and one with an open transaction
            // reads an old snapshot.
            let usable = !identity.replaced_within(metadata.age) && !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
        .connect_lazy_with(options)
}

/// Creates an empty file that only its owner can read. SQLite creates its companion files with the same mode.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(StoreError::Open { path: path.display().to_string(), source }),
    }
}

/// Checks that the file is a store and migrates its schema. Waits if another process is doing the same.
async fn prepare(options: &SqliteConnectOptions, path: &Path) -> Result<(), StoreError> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let outcome = async {
            let mut connection = options.connect().await.map_err(|error| not_a_database(error, path))?;
            let outcome = migrate(&mut connection, path).await;
            connection.close().await?;
            outcome
        }
        .await;
        match outcome {
            // Switching to WAL does not honour the busy timeout.
            Err(StoreError::Busy) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
            outcome => return outcome,
        }
    }
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let read = async {
        // One transaction, so that another process cannot create the tables between the two queries.
        let mut read = connection.begin().await?;
        let application: i32 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *read).await?;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *read).await?;
        read.rollback().await?;
        Ok((application, tables))
    };
    let (application, tables) = read.await.map_err(|error| not_a_database(error, path))?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(StoreError::NotAStore { path: path.display().to_string() });
    }
    if application == APPLICATION_ID && is_up_to_date(connection).await? {
        return Ok(());
    }
    // All migrations run in one transaction under the write lock, so that concurrent processes migrate once.
    let mut change = connection.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATIONS.run_direct(None, &mut *change, false).await.map_err(StoreError::Migration)?;
    Ok(change.commit().await?)
}

async fn is_up_to_date(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let found: i64 =
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(connection).await?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    if found > known {
        return Err(StoreError::Newer { found });
    }
    Ok(found == known)
}

/// Recognises a file that is not a database. SQLite reads a file only at the first query; 26 is SQLITE_NOTADB.
fn not_a_database(error: sqlx::Error, path: &Path) -> StoreError {
    let path = path.display().to_string();
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("26") => StoreError::NotAStore { path },
        // SQLITE_CANTOPEN, and SQLITE_READONLY with its extended codes.
        Some(code) if code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 8 | 14)) => {
            StoreError::Open { path, source: io::Error::other(error) }
        }
        _ => error.into(),
    }
}
