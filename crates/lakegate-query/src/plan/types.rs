//! Plans SQL types for which DataFusion's default is narrower than users expect.
//!
//! `TIMESTAMP` and `TIME` have microseconds, as in PostgreSQL and DuckDB. DataFusion's default is nanoseconds, which
//! end in 2262, so `TIMESTAMP '9999-12-31'` would be out of range. `TIMESTAMP(9)` has nanoseconds.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo};

/// Plans these types.
#[derive(Debug)]
pub(super) struct Microseconds;

impl TypePlanner for Microseconds {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let has_zone = |zone: &TimezoneInfo| matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone);
        let data_type = match sql_type {
            SqlType::Timestamp(None, zone) if has_zone(zone) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            SqlType::Timestamp(None, _) | SqlType::Datetime(None) => DataType::Timestamp(TimeUnit::Microsecond, None),
            SqlType::Time(None, zone) if !has_zone(zone) => DataType::Time64(TimeUnit::Microsecond),
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
