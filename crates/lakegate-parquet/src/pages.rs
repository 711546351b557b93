//! Checks the pages of a column before a reader decompresses and decodes them: the sizes and counts in their headers
//! must fit the bytes, the footer and the page index.
//!
//! It does not decode values, except for lengths by which a reader would allocate.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;

use super::delta;
use super::plausible::MOST_ITEMS;
use super::thrift::{DATA_PAGE, DATA_PAGE_V2, DICTIONARY_PAGE, DataPage, PageHeader, page_header};

/// Encodings that store the lengths of values as deltas.
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
const DELTA_BYTE_ARRAY: i64 = 7;
/// Bytes of the length before RLE-encoded levels.
const LEVEL_LENGTH: usize = 4;

/// Uncompressed page sizes in bytes: any page may have the first; above the second, the ratio is checked.
const SMALL: i64 = 64 << 10;
const LARGE: i64 = 64 << 20;
/// The maximum ratio of uncompressed to compressed size of large pages.
const MOST_UNPACKED: i64 = 1_000;
/// The maximum uncompressed size of all pages of one read that exceed that ratio together, in bytes.
const LARGE_READ: i64 = 256 << 20;
/// The number of value lengths that any page may have, and the number for each byte of a larger page.
const MOST_LENGTHS: usize = 4 << 20;
const LENGTHS_OF_A_BYTE: usize = 64;

/// The byte ranges of the column chunks of a file.
#[derive(Debug)]
pub struct Places {
    /// The byte range of each chunk, its row group and its column, in order of the ranges.
    chunks: Vec<(Range<u64>, usize, usize)>,
}

/// The sizes of all pages of one read, in bytes.
#[derive(Debug, Default)]
struct Sum {
    packed: i64,
    unpacked: i64,
}

impl Places {
    /// Collects the byte ranges from a footer.
    pub fn of(metadata: &ParquetMetaData) -> Self {
        let groups = metadata.row_groups().iter().enumerate();
        let chunks = groups.flat_map(|(group, of_group)| {
            of_group.columns().iter().enumerate().map(move |(at, column)| {
                let (start, length) = column.byte_range();
                (start..start + length, group, at)
            })
        });
        let mut chunks = chunks.collect::<Vec<_>>();
        chunks.sort_by_key(|(range, ..)| range.start);
        Self { chunks }
    }

    /// The row group and the column that contain a byte range; `None` if it is no part of a column.
    fn of_range(&self, range: &Range<u64>) -> Option<(usize, usize)> {
        let after = self.chunks.partition_point(|(chunk, ..)| chunk.start <= range.start);
        let (chunk, group, column) = self.chunks.get(after.checked_sub(1)?)?;
        (range.end <= chunk.end).then_some((*group, *column))
    }
}

/// Checks byte ranges that are read at once. Ranges outside of columns, such as Bloom filters, are not checked.
///
/// # Errors
/// Describes the fault, as the end of a sentence that begins with the name of the file.
pub fn check_pages(
    metadata: &ParquetMetaData,
    places: &Places,
    ranges: &[Range<u64>],
    read: &[Bytes],
) -> Result<(), String> {
    let mut sum = Sum::default();
    for (range, bytes) in ranges.iter().zip(read) {
        if bytes.len() as u64 != range.end - range.start {
            return Err("it is shorter than it was when it was listed".to_owned());
        }
        let Some((group, at)) = places.of_range(range) else { continue };
        let column = metadata.row_group(group).column(at);
        let index = metadata.offset_index().and_then(|index| Some(index.get(group)?.get(at)?.page_locations()));
        let pages = Pages { column, index: index.map(Vec::as_slice), rows: metadata.row_group(group).num_rows() };
        let name = column.column_path().string();
        pages.check(range, bytes, &mut sum).map_err(|what| format!("a page of column `{name}` is broken: {what}"))?;
    }
    match sum.unpacked > LARGE_READ && sum.unpacked / sum.packed.max(1) > MOST_UNPACKED {
        true => Err(format!("its pages are more than {MOST_UNPACKED} times larger when they are unpacked")),
        false => Ok(()),
    }
}

/// The pages of one column in one row group.
struct Pages<'a> {
    column: &'a ColumnChunkMetaData,
    index: Option<&'a [PageLocation]>,
    rows: i64,
}

impl Pages<'_> {
    fn check(&self, range: &Range<u64>, bytes: &Bytes, sum: &mut Sum) -> Result<(), &'static str> {
        let is_whole = bytes.len() as u64 == self.column.byte_range().1;
        let is_flat = self.column.column_descr().max_rep_level() == 0;
        let all = self.column.num_values();
        let (mut at, mut values) = (0, 0_i64);
        while at < bytes.len() {
            // Some writers leave bytes after the last page; readers ignore them.
            if is_whole && is_flat && values >= all && all > 0 {
                break;
            }
            let header = page_header(&bytes[at..]).ok_or("its header is not whole")?;
            let end = usize::try_from(header.packed).ok().and_then(|packed| (at + header.length).checked_add(packed));
            let end = end.filter(|end| *end <= bytes.len()).ok_or("it is longer than its column")?;
            self.sizes(&header)?;
            sum.packed = sum.packed.saturating_add((end - at) as i64);
            sum.unpacked = sum.unpacked.saturating_add(header.unpacked);
            let page = bytes.slice(at..end);
            match (header.kind, &header.data, header.dictionary) {
                (DICTIONARY_PAGE, _, Some(count)) => self.dictionary(count, header.unpacked)?,
                (DATA_PAGE | DATA_PAGE_V2, Some(data), _) => {
                    // A reader of a whole column goes from page to page and ignores the index.
                    if !is_whole {
                        self.place(range.start + at as u64, data)?;
                    }
                    values = values.saturating_add(data.values);
                    if values > self.most_values() {
                        return Err("it has more values than its column");
                    }
                    if [DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY].contains(&data.encoding) {
                        self.lengths(&page, data)?;
                    }
                }
                (DATA_PAGE | DATA_PAGE_V2 | DICTIONARY_PAGE, ..) => return Err("its header lacks what it is of"),
                // Readers skip pages of other kinds.
                _ => {}
            }
            self.unpacks(&header, &page.slice(header.length..))?;
            at = end;
        }
        Ok(())
    }

    /// The maximum number of values in all pages; higher for lists, because some writers count them differently.
    fn most_values(&self) -> i64 {
        match self.column.column_descr().max_rep_level() {
            0 => self.column.num_values(),
            _ => self.column.num_values().max(MOST_ITEMS),
        }
    }

    /// Checks that a page can have its uncompressed size with this codec.
    fn sizes(&self, header: &PageHeader) -> Result<(), &'static str> {
        let (packed, unpacked) = (header.packed, header.unpacked);
        let times = match self.column.compression() {
            Compression::UNCOMPRESSED => 1,
            Compression::SNAPPY => 24,
            Compression::LZ4 | Compression::LZ4_RAW => 256,
            _ if unpacked <= LARGE => i64::MAX,
            _ => MOST_UNPACKED,
        };
        if packed < 0 || unpacked < 0 || unpacked > SMALL.max(packed.saturating_mul(times)) {
            return Err("it cannot be so large when it is unpacked");
        }
        let Some(data) = &header.data else { return Ok(()) };
        let levels = data.levels.map_or(Some(0), |(repetition, definition)| {
            (repetition >= 0 && definition >= 0).then(|| repetition.saturating_add(definition))
        });
        match levels {
            Some(levels) if data.values >= 0 && levels <= unpacked && levels <= packed => Ok(()),
            _ => Err("its counts are impossible"),
        }
    }

    /// Checks that a dictionary of `count` values fits into `bytes` bytes.
    fn dictionary(&self, count: i64, bytes: i64) -> Result<(), &'static str> {
        let width = match self.column.column_type() {
            PhysicalType::BOOLEAN => return Err("truth values have no dictionary"),
            PhysicalType::INT32 | PhysicalType::FLOAT | PhysicalType::BYTE_ARRAY => 4,
            PhysicalType::INT64 | PhysicalType::DOUBLE => 8,
            PhysicalType::INT96 => 12,
            PhysicalType::FIXED_LEN_BYTE_ARRAY => i64::from(self.column.column_descr().type_length()).max(1),
        };
        let fits = count >= 0 && count.checked_mul(width).is_some_and(|least| least <= bytes);
        if fits { Ok(()) } else { Err("it says that it has more values than fit into it") }
    }

    /// Checks that a page has as many rows as its index entry; else a reader would combine it with wrong rows of other
    /// columns.
    fn place(&self, offset: u64, data: &DataPage) -> Result<(), &'static str> {
        let Some(index) = self.index.filter(|_| self.column.column_descr().max_rep_level() == 0) else { return Ok(()) };
        let at = index.binary_search_by_key(&offset.cast_signed(), |page| page.offset);
        let at = at.map_err(|_| "the index of pages does not have it")?;
        let end = index.get(at + 1).map_or(self.rows, |next| next.first_row_index);
        match end - index[at].first_row_index == data.values {
            true => Ok(()),
            false => Err("the index of pages says another number of rows"),
        }
    }

    /// Checks that a page decompresses to at most its declared size, for codecs that read to the end of input.
    fn unpacks(&self, header: &PageHeader, bytes: &Bytes) -> Result<(), &'static str> {
        let levels = header.data.as_ref().and_then(|data| data.levels);
        let is_packed = header.data.as_ref().is_none_or(|data| data.is_compressed);
        let skip = levels.map_or(0, |(repetition, definition)| repetition + definition);
        let most = u64::try_from(header.unpacked - skip).unwrap_or(0);
        let bytes = bytes.get(usize::try_from(skip).unwrap_or(usize::MAX)..).unwrap_or_default();
        // Deflate expands a byte to at most some thousand bytes.
        let is_small = |bytes: &[u8]| (bytes.len() as u64) < SMALL.unsigned_abs() / 1_024;
        let read = match self.column.compression() {
            Compression::GZIP(_) if is_packed && most > 0 && !is_small(bytes) => {
                std::io::copy(&mut MultiGzDecoder::new(bytes).take(most + 1), &mut std::io::sink())
            }
            Compression::BROTLI(_) if is_packed && most > 0 => {
                std::io::copy(&mut brotli::Decompressor::new(bytes, 4 << 10).take(most + 1), &mut std::io::sink())
            }
            _ => return Ok(()),
        };
        // If the data does not decompress, the reader reports that error.
        if read.is_ok_and(|read| read > most) { Err("it is larger when it is unpacked than it says") } else { Ok(()) }
    }

    /// Checks that the page has as many lengths as values, and that its values are not much larger than the page.
    fn lengths(&self, page: &Bytes, data: &DataPage) -> Result<(), &'static str> {
        const BROKEN: &str = "the lengths of its values cannot be read";
        let values = self.values(page, data).ok_or(BROKEN)?;
        let count = usize::try_from(data.values).unwrap_or(0);
        let most = count.min(MOST_LENGTHS.max(values.len().saturating_mul(LENGTHS_OF_A_BYTE)));
        let first = delta::lengths(&values, most).ok_or(BROKEN)?;
        if data.encoding == DELTA_LENGTH_BYTE_ARRAY {
            return Ok(());
        }
        let second = delta::lengths(values.get(first.end..).ok_or(BROKEN)?, most).ok_or(BROKEN)?;
        let expanded = delta::expanded(&first.values, &second.values);
        let bound = (values.len() as u64).saturating_mul(MOST_UNPACKED.unsigned_abs()).max(LARGE.unsigned_abs());
        if expanded > bound { Err("its values are much larger than it") } else { Ok(()) }
    }

    /// The decompressed values of a data page, without the levels before them.
    fn values(&self, page: &Bytes, data: &DataPage) -> Option<Bytes> {
        let column = self.column.clone().into_builder().set_dictionary_page_offset(None).set_data_page_offset(0);
        let column = column.set_total_compressed_size(page.len() as i64).build().ok()?;
        let mut reader = SerializedPageReader::new(Arc::new(page.clone()), &column, self.rows as usize, None).ok()?;
        let descriptor = self.column.column_descr();
        match reader.get_next_page().ok()?? {
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let levels = def_levels_byte_len.checked_add(rep_levels_byte_len)? as usize;
                (levels <= buf.len()).then(|| buf.slice(levels..))
            }
            Page::DataPage { mut buf, def_level_encoding, rep_level_encoding, .. } => {
                let of = [
                    (descriptor.max_rep_level(), rep_level_encoding),
                    (descriptor.max_def_level(), def_level_encoding),
                ];
                for (most, encoding) in of.into_iter().filter(|(most, _)| *most > 0) {
                    let levels = level_bytes(&buf, most, encoding, data.values)?;
                    buf = (levels <= buf.len()).then(|| buf.slice(levels..))?;
                }
                Some(buf)
            }
            Page::DictionaryPage { .. } => None,
        }
    }
}

/// The size in bytes of the levels at the start of a version 1 data page.
fn level_bytes(bytes: &[u8], most: i16, encoding: parquet::basic::Encoding, values: i64) -> Option<usize> {
    if encoding == parquet::basic::Encoding::RLE {
        let length = u32::from_le_bytes(bytes.get(..LEVEL_LENGTH)?.try_into().ok()?);
        return usize::try_from(length).ok()?.checked_add(LEVEL_LENGTH);
    }
    let width = i64::from(i16::BITS - most.leading_zeros());
    usize::try_from(values.checked_mul(width)?.checked_add(7)? / 8).ok()
}
