//! Finds the deleted rows of an Iceberg snapshot from position deletes, deletion vectors and equality deletes.
//!
//! A delete applies to files that existed before it. A position delete also applies to files of its own commit, an
//! equality delete does not.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::Int64Type;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use iceberg::metadata_columns::{RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS};
use iceberg::spec::{DataContentType, DataFileFormat, NestedField, PrimitiveType, TableMetadata, Type};
use roaring::RoaringTreemap;

use super::super::data_file::{DataFile, Reader};
use super::super::deletes::DeletedRows;
use super::super::mapping::NamedIds;
use super::super::{TableFault, location, place};
use super::manifests::{Entry, Listed, file_name};
use super::{keys, schema};

/// Magic number of a deletion vector.
const MAGIC: [u8; 4] = [0xd1, 0xd3, 0x39, 0x64];

/// Number of delete files read at once.
const AT_ONCE: usize = 4;

/// Finds the deleted rows of every data file. `files` are those of `listed.data`, in the same order.
pub(super) async fn resolve(
    reader: &Reader<'_>,
    metadata: &TableMetadata,
    named_ids: &NamedIds,
    listed: &Listed,
    files: &mut [DataFile],
) -> Result<(), TableFault> {
    if listed.deletes.is_empty() {
        return Ok(());
    }
    let mut rows = DeletedRows::default();
    let by_path =
        listed.data.iter().zip(files.iter()).map(|(entry, file)| (entry.data_file().file_path(), (entry, file)));
    let by_path = by_path.collect::<HashMap<_, _>>();
    let of_positions =
        listed.deletes.iter().filter(|entry| entry.data_file().content_type() == DataContentType::PositionDeletes);
    let reading = of_positions.map(|entry| positions(reader, entry).boxed()).collect::<Vec<_>>();
    let mut reading = stream::iter(reading).buffered(AT_ONCE);
    while let Some((delete, places)) = reading.try_next().await? {
        for (path, places) in places {
            // A delete may name files that are no longer part of the table.
            let Some((entry, file)) = by_path.get(path.as_str()) else { continue };
            if entry.sequence <= delete.sequence {
                rows.add(&file.path, places);
            }
        }
    }
    drop(reading);
    let of_values =
        listed.deletes.iter().filter(|entry| entry.data_file().content_type() == DataContentType::EqualityDeletes);
    keys::resolve(reader, metadata, named_ids, &of_values.collect::<Vec<_>>(), &listed.data, files, &mut rows).await?;
    for file in files {
        file.deleted = rows.take(&file.path);
    }
    Ok(())
}

/// Deleted positions by the path of the data file, as the table writes it.
async fn positions<'e>(
    reader: &Reader<'_>,
    entry: &'e Entry,
) -> Result<(&'e Entry, HashMap<String, Vec<u64>>), TableFault> {
    let file = entry.data_file();
    let name = file_name(file.file_path());
    let broken = || TableFault::new(format!("the deleted rows in `{name}` cannot be read"));
    let mut places = HashMap::<String, Vec<u64>>::new();
    if file.file_format() == DataFileFormat::Puffin {
        let referenced = file.referenced_data_file().ok_or_else(broken)?;
        let (Some(offset), Some(size)) = (file.content_offset(), file.content_size_in_bytes()) else {
            return Err(broken());
        };
        let (offset, size) = (u64::try_from(offset).map_err(|_| broken())?, u64::try_from(size).map_err(|_| broken())?);
        if size > 1 << 30 {
            return Err(broken());
        }
        let path = place::below(reader.lake, file.file_path())?;
        let range = offset..offset.checked_add(size).ok_or_else(broken)?;
        let read =
            datafusion::object_store::ObjectStoreExt::get_range(reader.lake.store().as_ref(), &path, range).await;
        let bytes = read.map_err(|error| location::unlisted(reader.lake, broken().message, error))?;
        places.insert(referenced, vector(&bytes).ok_or_else(broken)?);
        return Ok((entry, places));
    }
    let field = |id, name: &str, primitive| NestedField::required(id, name, Type::Primitive(primitive));
    let columns = [
        schema::column(&field(RESERVED_FIELD_ID_DELETE_FILE_PATH, "file_path", PrimitiveType::String), true)?,
        schema::column(&field(RESERVED_FIELD_ID_DELETE_FILE_POS, "pos", PrimitiveType::Long), true)?,
    ];
    let delete = DataFile {
        path: place::below(reader.lake, file.file_path())?,
        constants: HashMap::new(),
        deleted: Default::default(),
    };
    for batch in keys::batches(reader, &columns, &NamedIds::new(), delete).await? {
        let (paths, rows) = (batch.column(0).as_string_view(), batch.column(1).as_primitive::<Int64Type>());
        if paths.null_count() + rows.null_count() > 0 {
            return Err(broken());
        }
        for row in 0..batch.num_rows() {
            let place = u64::try_from(rows.value(row)).map_err(|_| broken())?;
            match places.get_mut(paths.value(row)) {
                Some(places) => places.push(place),
                None => {
                    places.insert(paths.value(row).to_owned(), vec![place]);
                }
            }
        }
    }
    Ok((entry, places))
}

/// Decodes a deletion vector (length, magic number, bitmap, checksum); `None` if it is invalid.
fn vector(bytes: &[u8]) -> Option<Vec<u64>> {
    let (length, rest) = bytes.split_at_checked(4)?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let (content, sum) = rest.split_at_checked(length)?;
    let mut expected = flate2::Crc::new();
    expected.update(content);
    if u32::from_be_bytes(sum.try_into().ok()?) != expected.sum() {
        return None;
    }
    let bitmap = content.strip_prefix(&MAGIC)?;
    Some(RoaringTreemap::deserialize_from(bitmap).ok()?.iter().collect())
}
