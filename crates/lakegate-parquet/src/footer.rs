//! Validates and decodes the footer of a Parquet file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, RowGroupMetaData,
};

use super::{counts, plausible, thrift};

const BROKEN: &str = "its footer is broken";

/// The bytes of a footer whose lengths and counts have been checked.
#[derive(Clone, Debug)]
pub struct Footer(Vec<u8>);

impl Footer {
    /// Checks the bytes of a footer: those between the last row group or index and the footer length.
    ///
    /// # Errors
    /// Describes the fault, as the end of a sentence that begins with the name of the file.
    pub fn of(mut bytes: Vec<u8>) -> Result<Self, String> {
        thrift::check_footer(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Decodes the footer and checks that it is possible for a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn decode(&self, file_bytes: u64, most_columns: usize) -> Result<ParquetMetaData, String> {
        // The decoder may panic on a broken footer.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            let metadata = ParquetMetaDataReader::decode_metadata(&self.0).map_err(|error| error.to_string())?;
            let fault = counts::fault(&metadata, file_bytes, most_columns);
            match fault.or_else(|| plausible::fault(&metadata, file_bytes)) {
                Some(fault) => Err(fault),
                None => Ok(counted(metadata)),
            }
        }));
        decoded.unwrap_or_else(|_| Err(BROKEN.to_owned()))
    }
}

/// Fills in the number of rows if the writer left it at 0, because readers would skip the file.
fn counted(metadata: ParquetMetaData) -> ParquetMetaData {
    let rows = metadata.row_groups().iter().map(RowGroupMetaData::num_rows).sum();
    let file = metadata.file_metadata();
    if file.num_rows() == rows {
        return metadata;
    }
    let (notes, orders) = (file.key_value_metadata().cloned(), file.column_orders().cloned());
    let (writer, schema) = (file.created_by().map(str::to_owned), file.schema_descr_ptr());
    let file = FileMetaData::new(file.version(), rows, writer, notes, schema, orders);
    ParquetMetaDataBuilder::new(file).set_row_groups(metadata.row_groups().to_vec()).build()
}
