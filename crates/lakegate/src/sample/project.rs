//! Writes the projects in the binary: the logistics sample, and a small starter project.
//!
//! Both are embedded, so that no source tree is needed. [`super::write_lake`] writes the sample's data.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use data_encoding::HEXLOWER;

use super::SampleError;

/// A path below the project folder, with `/` as separator, and the file's content.
pub type EmbeddedFile = (&'static str, &'static str);

macro_rules! logistics {
    ($($path:literal,)*) => {
        &[$(($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/logistics/", $path))),)*]
    };
}

const LOGISTICS: &[EmbeddedFile] = logistics![
    "lakegate.toml",
    "README.md",
    ".gitignore",
    "endpoints/all_orders_by_range.sql",
    "endpoints/count_delivered_trackcode_before_promise_time_by_range.sql",
    "endpoints/count_orders_by_range.sql",
    "endpoints/count_trackcode_by_client_city_by_range.sql",
    "endpoints/count_trackcode_by_range.sql",
    "endpoints/count_trackcode_lost_by_range.sql",
    "endpoints/delivery_points_by_range.sql",
    "endpoints/get_money_from_routes_by_range.sql",
    "endpoints/most_required_service_by_range.sql",
    "endpoints/most_visited_location_from_trackcode_by_range.sql",
    "endpoints/trackcodes_lost_by_range.sql",
    "tables/city.ingest.toml",
    "tables/client.ingest.toml",
    "tables/country.ingest.toml",
    "tables/order.ingest.toml",
    "tables/product_size.ingest.toml",
    "tables/route.ingest.toml",
    "tables/service.ingest.toml",
    "tests/policies.toml",
    "tests/matrix.json",
];

const STARTER: &[EmbeddedFile] = &[
    ("lakegate.toml", include_str!("starter/lakegate.toml")),
    (".gitignore", include_str!("starter/gitignore")),
    ("endpoints/sales_by_range.sql", include_str!("starter/endpoints/sales_by_range.sql")),
    ("endpoints/best_products.sql", include_str!("starter/endpoints/best_products.sql")),
    ("lake/sale.csv", include_str!("starter/lake/sale.csv")),
    ("lake/product.csv", include_str!("starter/lake/product.csv")),
];

/// The files of the logistics project, without its lake.
pub fn files() -> &'static [EmbeddedFile] {
    LOGISTICS
}

/// The files of the starter project, with its lake.
pub fn starter_files() -> &'static [EmbeddedFile] {
    STARTER
}

/// The file of the mask key, which is generated and not copied.
const MASK_KEY: &str = "mask.key";

/// Writes the logistics project into `dir`, with a new mask key. Existing files with the same content stay. If any file
/// differs, nothing is written. An existing key always stays.
pub fn write_project(dir: &Path) -> Result<(), SampleError> {
    let mut missing = Vec::new();
    for (path, content) in LOGISTICS {
        match fs::read(dir.join(path)) {
            Ok(found) if found == content.as_bytes() => {}
            Ok(_) => return Err(SampleError::Exists { path: dir.join(path) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push((*path, *content)),
            Err(source) => return Err(SampleError::File { path: dir.join(path), source }),
        }
    }
    write_new(dir, &missing)?;
    write_mask_key(&dir.join(MASK_KEY))
}

fn write_mask_key(path: &Path) -> Result<(), SampleError> {
    let unwritable = |source| SampleError::File { path: path.to_owned(), source };
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| unwritable(io::Error::other(error)))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let text = HEXLOWER.encode(&key);
    match options.open(path) {
        Ok(mut file) => writeln!(file, "{text}").map_err(unwritable),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unwritable(error)),
    }
}

/// Writes the starter project into `dir`. If any of its files exists, nothing is written.
pub fn write_starter(dir: &Path) -> Result<(), SampleError> {
    if let Some((path, _)) = STARTER.iter().find(|(path, _)| dir.join(path).symlink_metadata().is_ok()) {
        return Err(SampleError::Exists { path: dir.join(path) });
    }
    write_new(dir, STARTER)
}

fn write_new(dir: &Path, files: &[EmbeddedFile]) -> Result<(), SampleError> {
    for (path, content) in files {
        let path = dir.join(path);
        create(&path, content).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => SampleError::Exists { path: path.clone() },
            _ => SampleError::File { path: path.clone(), source },
        })?;
    }
    Ok(())
}

/// Creates a file that must not exist yet, because one may have appeared since the check.
fn create(path: &Path, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(content.as_bytes())
}
