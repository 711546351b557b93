//! What is read of a query as a whole before anything of it is given on: a page, a number of rows.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use lakegate_core::error::{Code, Error};

use super::BatchStream;

impl BatchStream {
    /// The first rows, at most so many, and whether there are more. The query has ended then; the rows are in memory.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn first(mut self, most: u64) -> Result<(Self, bool), Error> {
        let (mut batches, mut left, mut has_more) = (Vec::new(), usize::try_from(most).unwrap_or(usize::MAX), false);
        while let Some(batch) = self.next().await? {
            has_more |= batch.num_rows() > left;
            let taken = batch.num_rows().min(left);
            left -= taken;
            batches.push(Ok(batch.slice(0, taken)));
            if has_more {
                break;
            }
        }
        let (schema, limits) = (Arc::clone(self.schema()), self.limits());
        // What the query held is free from here on.
        drop(self);
        let batches = RecordBatchStreamAdapter::new(Arc::clone(&schema), stream::iter(batches));
        Ok((Self::new(Box::pin(batches), schema, limits), has_more))
    }

    /// The one number that the query gives.
    ///
    /// # Errors
    /// When the query fails, or gives something else.
    pub async fn number(mut self) -> Result<u64, Error> {
        let batch = self.next().await?;
        let number = batch.as_ref().and_then(|batch| batch.column(0).as_primitive_opt::<Int64Type>()?.values().first());
        let number = number.and_then(|number| u64::try_from(*number).ok());
        number.ok_or_else(|| Error::new(Code::Internal, "something went wrong").source("a count gave no number"))
    }
}
