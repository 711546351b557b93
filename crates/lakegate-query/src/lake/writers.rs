//! Decides by `created_by` in a Parquet footer how far the writer's statistics are trusted.
//!
//! docs/statistics.md has the table for users. Files of other writers are read too, but without pruning.

use std::cmp::Ordering;

/// The extent of trust in a writer's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// No statistics; only the rows themselves count.
    Nothing,
    /// The deprecated `min` and `max` of signed integers, dates and timestamps, and NULL counts.
    SignedIntegers,
    /// `min_value` and `max_value` in the order of the type, page indexes and Bloom filters, in addition to
    /// `SignedIntegers`.
    TypeDefined,
}

/// A writer: the start of its `created_by`, the first version with correct statistics, and the trust in older versions.
struct Writer {
    name: &'static str,
    since: [u32; 3],
    before: Belief,
}

/// The trusted writers. The first matching name applies.
const WRITERS: [Writer; 8] = [
    // Databricks' own engine reports no library version.
    Writer { name: "parquet-mr compatible photon", since: [0, 0, 0], before: Belief::Nothing },
    // Spark, Hive, Flink, Trino. Before 1.10 it compared min and max as signed bytes, whatever the type.
    Writer { name: "parquet-mr", since: [1, 10, 0], before: Belief::SignedIntegers },
    // pyarrow, pandas, Arrow C++ and R.
    Writer { name: "parquet-cpp-arrow", since: [3, 0, 0], before: Belief::SignedIntegers },
    // DataFusion, delta-rs, lakegate. Before 40 it compared decimals and unsigned integers in the wrong order.
    Writer { name: "parquet-rs", since: [40, 0, 0], before: Belief::Nothing },
    Writer { name: "duckdb", since: [1, 1, 0], before: Belief::Nothing },
    Writer { name: "polars", since: [1, 0, 0], before: Belief::Nothing },
    Writer { name: "trino", since: [400, 0, 0], before: Belief::Nothing },
    Writer { name: "impala", since: [3, 0, 0], before: Belief::SignedIntegers },
];

/// The trust in a file with this `created_by`.
pub(super) fn belief(created_by: Option<&str>) -> Belief {
    let Some(created_by) = created_by.map(str::to_ascii_lowercase) else { return Belief::Nothing };
    let is_of = |writer: &&Writer| {
        created_by.strip_prefix(writer.name).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '(']))
    };
    let Some(writer) = WRITERS.iter().find(is_of) else { return Belief::Nothing };
    match version(&created_by) {
        Some(version) if version.cmp(&writer.since) != Ordering::Less => Belief::TypeDefined,
        Some(_) => writer.before,
        None => Belief::Nothing,
    }
}

/// The three numbers after the word `version`; missing numbers are 0.
fn version(created_by: &str) -> Option<[u32; 3]> {
    let (_, rest) = created_by.split_once("version ")?;
    let rest = rest.trim_start().trim_start_matches('v');
    let mut numbers = rest.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    let major = numbers.next()?.ok()?;
    // `1.8.0-SNAPSHOT` has three numbers, `420` has one.
    let dots =
        rest.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').filter(|c| *c == '.').count();
    let mut next = |at: usize| if at <= dots { numbers.next().and_then(Result::ok).unwrap_or(0) } else { 0 };
    Some([major, next(1), next(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_believed_from_the_version_on_whose_statistics_are_right() {
        for (created_by, wanted) in [
            (Some("parquet-mr version 1.12.3-databricks-0001 (build abc)"), Belief::TypeDefined),
            (Some("parquet-mr compatible Photon version 0.1.2 (build x)"), Belief::TypeDefined),
            (Some("parquet-mr version 1.10.0 (build 031a665)"), Belief::TypeDefined),
            (Some("parquet-mr version 1.9.9"), Belief::SignedIntegers),
            (Some("parquet-mr version 1.6.0"), Belief::SignedIntegers),
            (Some("parquet-mr"), Belief::Nothing),
            (Some("parquet-cpp-arrow version 26.0.1"), Belief::TypeDefined),
            (Some("parquet-cpp version 1.5.1-SNAPSHOT"), Belief::Nothing),
            (Some("parquet-rs version 59.3.2"), Belief::TypeDefined),
            (Some("parquet-rs version 4.3.0 (build x)"), Belief::Nothing),
            (Some("DuckDB version v2.0.1 (build 8d78114e90)"), Belief::TypeDefined),
            (Some("DuckDB version v0.10.2"), Belief::Nothing),
            (Some("DuckDB"), Belief::Nothing),
            (Some("Polars (python) version 2.1.0 (build 7f902bd)"), Belief::TypeDefined),
            (Some("Polars"), Belief::Nothing),
            (Some("Trino version 420"), Belief::TypeDefined),
            (Some("impala version 2.8.0"), Belief::SignedIntegers),
            (Some("Parquet.Net v4.25.0 (build abc)"), Belief::Nothing),
            (Some("parquet-mryou version 9.9.9"), Belief::Nothing),
            (Some(""), Belief::Nothing),
            (None, Belief::Nothing),
        ] {
            assert_eq!(belief(created_by), wanted, "{created_by:?}");
        }
    }
}
