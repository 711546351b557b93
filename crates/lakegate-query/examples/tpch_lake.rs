//! Writes the tables of TPC-H as Parquet files, one for each, for the project in `bench/tpch`.
//!
//!     cargo run -p lakegate-query --example tpch_lake -- FOLDER SCALE
//!
//! Scale 1 has 150,000 customers, 1.5 million orders and 6 million items. The rows are in the order in which the standard's
//! generator makes them; `lakegate optimize` lays them out.

use std::env::args;
use std::error::Error;
use std::fs::{File, create_dir_all};
use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use tpchgen::generators::{CustomerGenerator, LineItemGenerator, OrderGenerator, PartGenerator};
use tpchgen_arrow::{CustomerArrow, LineItemArrow, OrderArrow, PartArrow};

fn main() -> Result<(), Box<dyn Error>> {
    let (folder, scale) = args().nth(1).zip(args().nth(2)).ok_or("usage: tpch_lake FOLDER SCALE")?;
    let (folder, scale) = (Path::new(&folder), scale.parse::<f64>()?);
    create_dir_all(folder)?;
    write(folder, "customer", CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)))?;
    write(folder, "orders", OrderArrow::new(OrderGenerator::new(scale, 1, 1)))?;
    write(folder, "lineitem", LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)))?;
    write(folder, "part", PartArrow::new(PartGenerator::new(scale, 1, 1)))
}

fn write<E>(
    folder: &Path,
    table: &str,
    rows: impl Iterator<Item = Result<RecordBatch, E>>,
) -> Result<(), Box<dyn Error>>
where
    E: Error + 'static,
{
    let mut rows = rows.peekable();
    let schema = match rows.peek() {
        Some(Ok(batch)) => batch.schema(),
        _ => return Err(format!("`{table}` has no rows").into()),
    };
    create_dir_all(folder.join(table))?;
    let mut writer = ArrowWriter::try_new(File::create(folder.join(table).join("part-0.parquet"))?, schema, None)?;
    for batch in rows {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}
