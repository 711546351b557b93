//! What all queries of a process share: memory, room on disk, footers of the lake's files.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use super::lenient::Lenient;
use super::spill;

/// Memory for footers of files, in bytes: those of tens of thousands. One that is not kept is read again for each request
/// that comes to its file.
const FOOTERS_BYTES: usize = 256 << 20;

/// What there is for all queries together.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Memory, in bytes.
    pub memory_bytes: usize,
    /// What may be put aside on disk, in bytes; 0 is nothing.
    pub spill_bytes: u64,
    /// The folder for that; `None` is the system's for temporary files.
    pub spill_folder: Option<PathBuf>,
}

/// Makes them available.
///
/// # Errors
/// When the folder that is named can not be written. Where the system's can not, queries do not spill: see [`spills`].
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

/// Whether queries can put something aside on disk.
pub fn spills(runtime: &RuntimeEnv) -> bool {
    runtime.disk_manager.tmp_files_enabled()
}
