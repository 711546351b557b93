//! Opens the Parquet files that a table format's metadata lists: pins each file to one version, reads its footer once,
//! maps its columns and statistics to the table's, and takes out deleted rows.
//!
//! `delta` and `iceberg` decide which files belong to the table and which rows are deleted.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt};
use datafusion::parquet::file::metadata::ParquetMetaData;
use futures::FutureExt;

use super::columns::in_order;
use super::contained_format::ContainedFormat;
use super::deletes::Deleted;
use super::mapping::{Column, Mapping, NamedIds, Origin, Shape};
use super::parquet_format::Parquet;
use super::version::{NoVersion, Snapshot, TableVersion, summary};
use super::{Lake, TableFault, estimates, footers, location, pinned};
use crate::govern::fingerprint::Fingerprint;

/// A data file of a table, as the table's metadata lists it.
#[derive(Clone, Debug)]
pub(super) struct DataFile {
    pub(super) path: Path,
    /// Constant values of columns, such as partition values, by the column's position in the table.
    pub(super) constants: HashMap<usize, ScalarValue>,
    pub(super) deleted: Deleted,
}

/// Facts from the footers of files, by path, kept from one table version to the next.
#[derive(Debug, Default)]
pub(super) struct KnownFiles(HashMap<Path, Arc<Known>>);

/// The facts about a file that do not depend on the table.
#[derive(Debug)]
struct Known {
    /// The file at the version that was read.
    object: ObjectMeta,
    tag: Option<String>,
    shape: Arc<Shape>,
    row_groups: Vec<u64>,
    /// In the order of the file's own columns.
    statistics: Vec<ColumnStatistics>,
}

/// The context to read data files with.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) lake: &'a Lake,
    pub(super) session: &'a dyn Session,
    /// Files that an earlier version has read.
    pub(super) known: Option<&'a KnownFiles>,
}

/// The parts of a table version other than its files.
pub(super) struct Frame<'a> {
    /// The table's name.
    pub(super) table: &'a str,
    pub(super) columns: &'a [Column],
    pub(super) named_ids: &'a NamedIds,
    pub(super) declaration: &'a str,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) newest: Option<String>,
}

/// The files of a version, sorted by path. Fails when a file is listed twice, because its rows would be served twice,
/// and the second entry could bring back rows that the first one deletes.
pub(super) fn sorted(mut files: Vec<DataFile>) -> Result<Vec<DataFile>, TableFault> {
    files.sort_by(|one, other| one.path.cmp(&other.path));
    match files.windows(2).find(|pair| pair[0].path == pair[1].path) {
        None => Ok(files),
        Some(pair) => Err(TableFault::new(format!("`{}` is part of the table twice", pair[0].path))
            .help("its metadata is broken: take the second entry out with what writes the table")),
    }
}

impl Reader<'_> {
    /// Builds a table version from these files.
    pub(super) async fn version(&self, frame: Frame<'_>, files: Vec<DataFile>) -> Result<TableVersion, TableFault> {
        let schema =
            Arc::new(Schema::new(frame.columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>()));
        let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        if let Some((_, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(TableFault::new(format!("the table has two columns `{name}`")));
        }
        let (known, opened) = self.open(&files).await?;
        let mut mapping = Mapping::new(Arc::clone(&schema));
        let mut digest = Fingerprint::new("lakegate table version v2");
        digest.text(frame.declaration);
        digest.text(format_args!("{:?} {schema:?} {:?}", frame.snapshot, frame.columns));
        let mut parts = Vec::with_capacity(files.len());
        for (file, known) in files.iter().zip(&opened) {
            let fault = |error: String| TableFault::new(format!("`{}`: {error}", file.path));
            let layout = known.shape.layout(frame.columns, &file.constants, frame.named_ids).map_err(fault)?;
            let mut part = PartitionedFile::from(known.object.clone());
            part.statistics = Some(Arc::new(known.statistics(&schema, &layout, &file.deleted)));
            digest.text(format_args!("{} {} {layout:?}", known.object.location, known.object.size));
            part.arrow_schema = Some(mapping.file_schema(&known.shape, layout));
            if !file.deleted.is_empty() {
                file.deleted.places().iter().for_each(|place| digest.part(&place.to_le_bytes()));
                part = part.with_extension(file.deleted.access_plan(&known.row_groups).map_err(fault)?);
            }
            parts.push(part);
        }
        Ok(TableVersion {
            statistics: summary(&parts, &schema)?,
            format: ContainedFormat::new(Arc::new(Parquet::default()), self.lake, frame.table),
            schema: TableSchema::from(schema),
            files: FileGroup::new(parts),
            mapping: Some(Arc::new(mapping)),
            digest: digest.bytes(),
            snapshot: frame.snapshot,
            newest: frame.newest,
            known: Arc::new(known),
            restrictions: None,
        })
    }

    /// Looks up every file, and reads the footers of the files that are new.
    async fn open(&self, files: &[DataFile]) -> Result<(KnownFiles, Vec<Arc<Known>>), TableFault> {
        let looks = files.iter().map(|file| self.look(&file.path).boxed()).collect::<Vec<_>>();
        let looked = in_order(looks).await?;
        let mut shapes = Vec::<Arc<Shape>>::new();
        let mut known = KnownFiles::default();
        let mut opened = Vec::with_capacity(files.len());
        for file in looked {
            let file = match file {
                Looked::Known(file) => file,
                Looked::Read(object, tag, footer) => {
                    let fault = |error: String| unreadable(pinned::plain(&object.location), &error);
                    let shape = match shapes.iter().find(|shape| shape.is_of(&footer)) {
                        Some(shape) => Arc::clone(shape),
                        None => {
                            let shape = whole(|| Shape::of(&footer)).map_err(fault)?;
                            shapes.push(Arc::new(shape));
                            Arc::clone(&shapes[shapes.len() - 1])
                        }
                    };
                    let path = pinned::plain(&object.location).to_owned();
                    let known = whole(|| Known::of(object, tag, shape, &footer).map_err(|(_, error)| error));
                    Arc::new(known.map_err(|error| unreadable(&path, &error))?)
                }
            };
            known.0.insert(Path::from(pinned::plain(&file.object.location)), Arc::clone(&file));
            opened.push(file);
        }
        Ok((known, opened))
    }

    async fn look(&self, path: &Path) -> Result<Looked, TableFault> {
        let object = match self.lake.store().head(path).await {
            Ok(object) => object,
            Err(error @ StoreError::NotFound { .. }) => {
                return Err(TableFault::new(format!("`{path}` is part of the table, and is gone"))
                    .help("it was removed as no longer needed, or the lake is not complete")
                    .no_version(NoVersion::Expired)
                    .source(error));
            }
            Err(error) => return Err(location::unlisted(self.lake, format!("`{path}` cannot be read"), error)),
        };
        let is_same = |known: &&Arc<Known>| {
            known.tag.is_some()
                && known.tag == object.e_tag
                && known.object.size == object.size
                && known.object.last_modified == object.last_modified
        };
        if let Some(known) = self.known.and_then(|known| known.0.get(path)).filter(is_same) {
            return Ok(Looked::Known(Arc::clone(known)));
        }
        let tag = object.e_tag.clone();
        let object =
            pinned::pin(&object).map_err(|error| TableFault::new("its files cannot be read safely").source(error))?;
        let footer = footers::check(self.session, self.lake.store(), self.lake.is_remote(), &object).await;
        let footer = footer.map_err(|error| {
            TableFault::new(format!("{}, so it cannot be read as Parquet", error.text))
                .help("check that the file is complete")
                .passing(error.is_passing)
        })?;
        Ok(Looked::Read(object, tag, footer))
    }
}

/// Runs a parser on a footer. A panic counts as a broken file.
fn whole<T>(find: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(find)).unwrap_or_else(|_| Err("it is broken".to_owned()))
}

enum Looked {
    Known(Arc<Known>),
    Read(ObjectMeta, Option<String>, Arc<ParquetMetaData>),
}

fn unreadable(path: &str, error: &str) -> TableFault {
    TableFault::new(format!("`{path}` cannot be read as Parquet: {error}")).help("check that the file is complete")
}

impl Known {
    fn of(
        object: ObjectMeta,
        tag: Option<String>,
        shape: Arc<Shape>,
        footer: &ParquetMetaData,
    ) -> Result<Self, (String, String)> {
        let fault = |error: String| (pinned::plain(&object.location).to_owned(), error);
        let counts = footer.row_groups().iter().map(|group| u64::try_from(group.num_rows()));
        let row_groups =
            counts.collect::<Result<Vec<_>, _>>().map_err(|_| fault("a row group has less than no rows".to_owned()))?;
        let statistics = estimates::of_file(footer, &shape.schema).column_statistics;
        Ok(Self { tag, shape, row_groups, statistics, object })
    }

    /// The statistics of the table's columns in this file, whatever their positions and names in the file.
    fn statistics(&self, schema: &SchemaRef, layout: &[Origin], deleted: &Deleted) -> Statistics {
        let rows = usize::try_from(self.row_groups.iter().sum::<u64>()).unwrap_or(usize::MAX);
        let mut statistics = Statistics::new_unknown(schema);
        let has_deleted = !deleted.is_empty();
        // Deleted rows make the statistics of a file inexact.
        let exact = |count| if has_deleted { Precision::Inexact(count) } else { Precision::Exact(count) };
        statistics.num_rows = exact(rows.saturating_sub(deleted.places().len()));
        let nulls = || ColumnStatistics { null_count: exact(rows), ..ColumnStatistics::new_unknown() };
        for ((column, origin), field) in statistics.column_statistics.iter_mut().zip(layout).zip(schema.fields()) {
            *column = match origin {
                Origin::Missing => nulls(),
                Origin::Constant(value) if value.is_null() => nulls(),
                Origin::Constant(value) => ColumnStatistics {
                    null_count: exact(0),
                    min_value: Precision::Exact(value.clone()),
                    max_value: Precision::Exact(value.clone()),
                    ..ColumnStatistics::new_unknown()
                },
                Origin::Converted(..) => ColumnStatistics::new_unknown(),
                Origin::Column(place) => {
                    let of_file = self.statistics.get(*place).cloned().unwrap_or_else(ColumnStatistics::new_unknown);
                    let widened = |bound: Precision<ScalarValue>| match bound {
                        Precision::Exact(value) => {
                            value.cast_to(field.data_type()).map_or(Precision::Absent, Precision::Exact)
                        }
                        Precision::Inexact(value) => {
                            value.cast_to(field.data_type()).map_or(Precision::Absent, Precision::Inexact)
                        }
                        Precision::Absent => Precision::Absent,
                    };
                    ColumnStatistics {
                        null_count: of_file.null_count,
                        min_value: widened(of_file.min_value),
                        max_value: widened(of_file.max_value),
                        byte_size: of_file.byte_size,
                        ..ColumnStatistics::new_unknown()
                    }
                }
            };
        }
        statistics
    }
}
