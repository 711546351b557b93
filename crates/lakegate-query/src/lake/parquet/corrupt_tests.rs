//! Corrupts Parquet files all over: each is refused or read, a panic of the reader becomes an error that names the
//! file, and no memory is allocated for what a file merely declares.
//!
//! `LAKEGATE_CORRUPT=100000 cargo test --workspace --lib -- corrupt` makes 100,000 further changes to each file.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ListArray, MapArray, StructArray};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaDataBuilder, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
};
use datafusion::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use datafusion::parquet::schema::types::ColumnPath;
use datafusion::physical_plan::collect;
use lakegate_core::project::{LakeStore, Project, ProjectFiles};

use crate::lake::{Lake, LakeTable, unread};
use crate::plan::bare_session;

const FILE: &str = "t/a.parquet";

/// Opens a lake whose table is this file: returns the number of rows, or the fault, which names the file.
async fn read(bytes: &[u8]) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("t")).unwrap();
    std::fs::write(folder.path().join(FILE), bytes).unwrap();
    let config = "[lake]\nlocation = \".\"\n[tables.t]\nshared = true\nlocation = \"t/\"\n".to_owned();
    let (project, _) = Project::read(&ProjectFiles { config, ..ProjectFiles::default() });
    let lake = Lake::open(folder.path(), ".", &LakeStore::default()).unwrap();
    let session = bare_session(&lake, Arc::new(RuntimeEnv::default())).unwrap();
    let opened = LakeTable::open(&lake, &project.config.tables["t"], &session, None).await;
    let table = opened.map_err(|fault| {
        assert!(fault.message.contains(FILE) || fault.message.contains("at `t/`"), "{}", fault.message);
        assert!(!fault.is_passing, "{}", fault.message);
        fault.message
    })?;
    let plan = match table.scan(&session, None, &[], None).await {
        Ok(plan) => plan,
        Err(error) => return Err(error.to_string()),
    };
    match collect(plan, session.task_ctx()).await {
        Ok(batches) => Ok(batches.iter().map(RecordBatch::num_rows).sum()),
        Err(error) => {
            let told = unread(&error).unwrap_or_else(|| panic!("nobody says which file it is: {error:?}"));
            assert!(told.to_string().starts_with("table `t`: `t/a.parquet` cannot be read: "), "{told}");
            Err(told.to_string())
        }
    }
}

fn write(columns: Vec<(&str, ArrayRef)>, properties: WriterPropertiesBuilder) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn text() -> ArrayRef {
    Arc::new(StringArray::from(vec![Some("a"), Some("ab"), None, Some("abc"), Some("abd"), Some("")]))
}

fn flat() -> Vec<(&'static str, ArrayRef)> {
    let decimals = Decimal128Array::from(vec![Some(1), None, Some(3), Some(-4), Some(5), Some(6)]);
    vec![
        ("i", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(1), Some(1), Some(900)]))),
        ("s", text()),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true), Some(true), None]))),
        ("f", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5, 3.5, 4.5, 5.5]))),
        ("d", Arc::new(decimals.with_precision_and_scale(30, 2).unwrap())),
        ("t", Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3, 4, 5, 6]))),
    ]
}

fn nested() -> Vec<(&'static str, ArrayRef)> {
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4), Some(5), Some(6)]));
    let lengths = || OffsetBuffer::<i32>::from_lengths([2, 0, 1, 3]);
    let nulls = NullBuffer::from(vec![true, true, false, true]);
    let list = ListArray::try_new(field("element", &numbers), lengths(), Arc::clone(&numbers), Some(nulls)).unwrap();
    let fields = vec![field("n", &numbers), field("s", &text())];
    let structs = StructArray::try_new(fields.into(), vec![Arc::clone(&numbers), text()], None).unwrap();
    let structs: ArrayRef = Arc::new(structs);
    let of_structs = ListArray::try_new(field("element", &structs), lengths(), Arc::clone(&structs), None).unwrap();
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d", "e", "f"]));
    let pair = vec![Arc::new(Field::new("key", DataType::Utf8, false)), field("value", &numbers)];
    let entries = StructArray::try_new(pair.into(), vec![keys, numbers], None).unwrap();
    let of_map = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let map = MapArray::try_new(of_map, lengths(), entries, None, false).unwrap();
    vec![("l", Arc::new(list)), ("ls", Arc::new(of_structs)), ("m", Arc::new(map)), ("st", structs.slice(0, 4))]
}

/// Small valid files that together use everything the writer supports.
fn files() -> Vec<Vec<u8>> {
    let plain = || WriterProperties::builder().set_dictionary_enabled(false);
    let differences = plain()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_column_encoding(ColumnPath::from("s"), Encoding::DELTA_BYTE_ARRAY)
        .set_column_encoding(ColumnPath::from("i"), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(ColumnPath::from("f"), Encoding::BYTE_STREAM_SPLIT);
    let lengths = plain()
        .set_compression(Compression::GZIP(GzipLevel::default()))
        .set_column_encoding(ColumnPath::from("s"), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    let pages = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_data_page_row_count_limit(2)
        .set_write_batch_size(1)
        .set_bloom_filter_enabled(true)
        .set_bloom_filter_max_ndv(4);
    let brotli = WriterProperties::builder().set_compression(Compression::BROTLI(BrotliLevel::default()));
    vec![
        write(flat(), differences),
        write(flat(), lengths),
        write(flat()[..2].to_vec(), pages),
        write(nested(), brotli),
        write(nested(), plain().set_writer_version(WriterVersion::PARQUET_2_0)),
    ]
}

/// The next pseudorandom number.
fn next(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 8) as usize
}

#[tokio::test]
async fn a_corrupt_file_is_a_fault_that_names_it_and_never_a_panic() {
    let more = std::env::var("LAKEGATE_CORRUPT").ok().and_then(|more| more.parse::<usize>().ok()).unwrap_or(60);
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    for (at, sound) in files().into_iter().enumerate() {
        assert!(read(&sound).await.is_ok(), "file {at}: {:?}", read(&sound).await);
        for cut in (0..sound.len()).step_by(sound.len() / 24) {
            assert!(read(&sound[..cut]).await.is_err(), "file {at} of {cut} bytes is taken");
        }
        // About 120 places over the whole file are changed. Half of the further changes hit the footer, because most
        // trust is placed there.
        let length = u32::from_le_bytes(sound[sound.len() - 8..sound.len() - 4].try_into().unwrap()) as usize;
        let step = (sound.len() / 120).max(1);
        let places = (4..sound.len()).step_by(step).chain((0..more).map(|_| 0)).collect::<Vec<_>>();
        for place in places {
            let mut changed = sound.clone();
            let footer = sound.len() - 8 - length;
            let place = match (place, next(&mut seed) % 2) {
                (0, 0) => footer + next(&mut seed) % length,
                (0, _) => next(&mut seed) % footer,
                (place, _) => place,
            };
            changed[place] = match next(&mut seed) % 4 {
                0 => 0xff,
                1 => 0x7f,
                2 => changed[place] ^ 1 << (next(&mut seed) % 8),
                _ => next(&mut seed) as u8,
            };
            let _ = read(&changed).await;
        }
    }
}

#[tokio::test]
async fn what_is_no_file_of_rows_is_told() {
    for (bytes, said) in [
        (b"PAR1".to_vec(), "too short"),
        (b"PAR1\0\0\0\0PAR1".to_vec(), "cannot be read"),
        ([b"PAR1".as_slice(), &[0; 40], b"\x28\0\0\0PAR1"].concat(), "cannot be read"),
        ([b"PAR1".as_slice(), &[0; 40], b"\xff\xff\xff\x7fPAR1"].concat(), "footer is larger"),
        ([b"PAR1".as_slice(), &[0; 40], b"\x08\0\0\0PARE"].concat(), "encrypted"),
    ] {
        let fault = read(&bytes).await.unwrap_err();
        assert!(fault.contains(said), "{fault}");
    }
    // The table's only file is empty, so there is nothing to read.
    assert!(read(b"").await.is_err());
}

/// A footer with a list of more row groups than fit in memory.
#[tokio::test]
async fn counts_of_a_footer_are_not_allocated_for() {
    let with =
        |footer: &[u8]| [b"PAR1".as_slice(), &[0; 100], footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat();
    let many = [0x15, 2, 0x39, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
    let fault = read(&with(&many)).await.unwrap_err();
    assert!(fault.contains("its footer is broken"), "{fault}");
    let mut deep = vec![0x15, 2, 0x19, 0xfc, 0xa0, 0x8d, 0x06];
    (0..100_000).for_each(|_| deep.extend([0x48, 1, b'c', 0x15, 2, 0]));
    deep.extend([0x48, 1, b'c', 0, 0]);
    let fault = read(&with(&deep)).await.unwrap_err();
    assert!(fault.contains("nested too deep"), "{fault}");
}

/// A file with one string column and one page written by hand.
struct Forged {
    header: Vec<u8>,
    page: Vec<u8>,
    compression: Compression,
}

fn zigzag(number: i64) -> Vec<u8> {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

impl Forged {
    /// A data page of version 1, whose header declares these sizes and this encoding.
    fn page(unpacked: i64, values: i64, encoding: i64, page: &[u8]) -> Self {
        let mut header = vec![0x15, 0, 0x15];
        header.extend(zigzag(unpacked));
        header.push(0x15);
        header.extend(zigzag(page.len() as i64));
        header.extend([0x2c, 0x15]);
        header.extend(zigzag(values));
        header.push(0x15);
        header.extend(zigzag(encoding));
        header.extend([0x15, 6, 0x15, 6, 0, 0]);
        Self { header, page: page.to_vec(), compression: Compression::UNCOMPRESSED }
    }

    fn packed(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    fn bytes(&self, change: impl Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder) -> Vec<u8> {
        let plain = WriterProperties::builder().set_dictionary_enabled(false);
        let sound = write(vec![("s", text())], plain);
        let whole = bytes::Bytes::from(sound);
        let footer = ParquetMetaDataReader::new().parse_and_finish(&whole).unwrap();
        let mut forged = b"PAR1".to_vec();
        forged.extend(&self.header);
        forged.extend(&self.page);
        let length = (self.header.len() + self.page.len()) as i64;
        let group = footer.row_group(0);
        let column = group.column(0).clone().into_builder().set_compression(self.compression);
        let column = column.set_data_page_offset(4).set_total_compressed_size(length);
        let column = change(column.set_total_uncompressed_size(length)).build().unwrap();
        let column = column.into_builder().set_offset_index_offset(None).set_column_index_offset(None);
        let column = column.set_offset_index_length(None).set_column_index_length(None).build().unwrap();
        let group = group.clone().into_builder().set_column_metadata(vec![column]).build().unwrap();
        let footer = ParquetMetaDataBuilder::new(footer.file_metadata().clone()).set_row_groups(vec![group]).build();
        ParquetMetaDataWriter::new(&mut forged, &footer).finish().unwrap();
        forged
    }

    async fn fault(&self) -> String {
        read(&self.bytes(|column| column)).await.unwrap_err()
    }
}

/// Definition levels of six values, none NULL, in a page of version 1.
const LEVELS: [u8; 6] = [2, 0, 0, 0, 12, 1];

#[tokio::test]
async fn sizes_of_pages_are_not_allocated_for() {
    let values = [LEVELS.as_slice(), &[1, 0, 0, 0, b'x'].repeat(6)].concat();
    let sound = Forged::page(values.len() as i64, 6, 0, &values);
    assert_eq!(read(&sound.bytes(|column| column)).await, Ok(6));
    for compression in [Compression::SNAPPY, Compression::LZ4_RAW, Compression::ZSTD(ZstdLevel::default())] {
        for unpacked in [i64::from(i32::MAX), 1 << 27, -1] {
            let fault = Forged::page(unpacked, 6, 0, &values).packed(compression).fault().await;
            assert!(fault.contains("it cannot be so large when it is unpacked"), "{fault}");
        }
    }
    for values_said in [7, i64::from(i32::MAX)] {
        let fault = Forged::page(values.len() as i64, values_said, 0, &values).fault().await;
        assert!(fault.contains("more values than its column"), "{fault}");
    }
    // A dictionary page in place of the data page.
    let mut header = vec![0x15, 4, 0x15];
    header.extend(zigzag(30));
    header.extend([0x15, 60, 0x4c, 0x15]);
    header.extend(zigzag(i64::from(i32::MAX)));
    header.extend([0x15, 0, 0, 0]);
    let forged = Forged { header, page: vec![0; 30], compression: Compression::UNCOMPRESSED };
    let fault = forged.fault().await;
    assert!(fault.contains("more values than fit into it"), "{fault}");
}

/// Deflate data that continues far beyond the size in the page's header.
#[tokio::test]
async fn pages_end_where_they_say() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packer, &vec![0; 64 << 20]).unwrap();
    let bomb = packer.finish().unwrap();
    let fault = Forged::page(100, 6, 0, &bomb).packed(Compression::GZIP(GzipLevel::default())).fault().await;
    assert!(fault.contains("larger when it is unpacked than it says"), "{fault}");
}

#[tokio::test]
async fn lengths_of_values_are_not_allocated_for() {
    // A header with blocks of 128 in 4 miniblocks: a billion lengths, all 7.
    let many = [128_u8, 1, 4, 0x80, 0x94, 0xeb, 0xdc, 0x03, 14];
    let six = |first: u8, least: u8| [128_u8, 1, 4, 6, first, least, 0, 0, 0, 0];
    for encoding in [6, 7] {
        let page = [LEVELS.as_slice(), &many].concat();
        let fault = Forged::page(page.len() as i64, 6, encoding, &page).fault().await;
        assert!(fault.contains("the lengths of its values cannot be read"), "{fault}");
    }
    let page = [LEVELS.as_slice(), &six(2, 0), b"xxxxxx"].concat();
    assert_eq!(read(&Forged::page(page.len() as i64, 6, 6, &page).bytes(|column| column)).await, Ok(6));
}

#[tokio::test]
async fn an_index_of_pages_that_is_broken_is_left_out() {
    let pages = WriterProperties::builder().set_data_page_row_count_limit(2).set_write_batch_size(1);
    let sound = write(flat(), pages);
    let whole = bytes::Bytes::from(sound.clone());
    let footer = ParquetMetaDataReader::new().parse_and_finish(&whole).unwrap();
    for column in footer.row_group(0).columns() {
        let parts = [
            (column.offset_index_offset(), column.offset_index_length()),
            (column.column_index_offset(), column.column_index_length()),
        ];
        for (offset, length) in parts {
            let mut broken = sound.clone();
            let (start, length) = (offset.unwrap() as usize, length.unwrap() as usize);
            broken[start..start + length].fill(0xff);
            assert_eq!(read(&broken).await, Ok(6), "{}", column.column_path());
            broken[start..start + length].fill(0);
            assert_eq!(read(&broken).await, Ok(6), "{}", column.column_path());
        }
    }
}
