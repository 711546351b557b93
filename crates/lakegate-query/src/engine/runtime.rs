//! The resources that all queries of the process share: memory, disk space, and the cache of Parquet footers.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use super::lenient::Lenient;
use super::spill;

/// Size of the footer cache, in bytes; it holds the footers of tens of thousands of files. A footer that is not cached
/// is read again by each request that needs the file.
const FOOTERS_BYTES: usize = 256 << 20;

/// The limits of all queries together.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Memory, in bytes.
    pub memory_bytes: usize,
    /// Disk space for spilling, in bytes; 0 disables it.
    pub spill_bytes: u64,
    /// The folder to spill to; `None` is the system's folder for temporary files.
    pub spill_folder: Option<PathBuf>,
}

/// Creates the runtime environment with these limits.
///
/// # Errors
/// If `spill_folder` is set and not writable. If the system's folder is not writable, queries do not spill; see
/// [`spills`].
pub fn runtime(resources: &Resources) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let Resources { memory_bytes, spill_bytes, spill_folder } = resources;
    let folder = spill_folder.clone().unwrap_or_else(std::env::temp_dir);
    let build = |mode| {
        let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(*spill_bytes);
        RuntimeEnvBuilder::new().with_disk_manager_builder(disk).with_metadata_cache_limit(FOOTERS_BYTES).build()
    };
    let spilling = || {
        spill::clean(&folder);
        let runtime = build(DiskManagerMode::Directories(vec![folder.clone()]))?;
        let lock = spill::lock(&runtime.disk_manager)?;
        Ok::<_, DataFusionError>((runtime, lock))
    };
    let made = if *spill_bytes == 0 { None } else { Some(spilling()) };
    let (mut runtime, spill) = match made {
        Some(Ok(made)) => made,
        Some(Err(error)) if spill_folder.is_some() => return Err(error),
        _ => (build(DiskManagerMode::Disabled)?, None),
    };
    runtime.memory_pool = Arc::new(Lenient::new(*memory_bytes).with_folder(spill));
    Ok(Arc::new(runtime))
}

/// Whether queries can spill to disk.
pub fn spills(runtime: &RuntimeEnv) -> bool {
    runtime.disk_manager.tmp_files_enabled()
}
