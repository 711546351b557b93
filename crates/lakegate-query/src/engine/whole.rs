//! Reads the parts of a query that are needed before a response starts: a page, or a single number.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use lakegate_core::error::{Code, Error};

use super::BatchStream;
use super::failure::too_many_rows;

impl BatchStream {
    /// Reads the first `most` rows and returns whether there are more. The query has then ended. The rows stay in
    /// memory, and in the query's share of it, until they are read.
    ///
    /// # Errors
    /// If the query fails, or its memory is too small for the rows.
    pub async fn first(mut self, most: u64) -> Result<(Self, bool), Error> {
        let (mut left, mut came, mut has_more) = (usize::try_from(most).unwrap_or(usize::MAX), 0, false);
        while let Some(batch) = self.pull().await? {
            came += batch.num_rows() as u64;
            if let Some(most) = self.max_rows().filter(|most| came > *most) {
                return Err(too_many_rows(most));
            }
            has_more = batch.num_rows() > left;
            let taken = batch.num_rows().min(left);
            left -= taken;
            if taken > 0 {
                self.keep(batch.slice(0, taken))?;
            }
            if has_more {
                self.end();
                break;
            }
        }
        Ok((self, has_more))
    }

    /// The single number that the query returns.
    ///
    /// # Errors
    /// If the query fails or returns something else.
    pub async fn number(mut self) -> Result<u64, Error> {
        let batch = self.next().await?;
        let number = batch.as_ref().and_then(|batch| batch.column(0).as_primitive_opt::<Int64Type>()?.values().first());
        let number = number.and_then(|number| u64::try_from(*number).ok());
        number.ok_or_else(|| Error::new(Code::Internal, "something went wrong").source("a count gave no number"))
    }
}
