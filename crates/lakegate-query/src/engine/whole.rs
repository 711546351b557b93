//! What is read of a query as a whole before anything of it is given on: a page, a number of rows.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use lakegate_core::error::{Code, Error};

use super::BatchStream;
use super::failure::too_many_rows;

impl BatchStream {
    /// The first rows, at most so many, and whether there are more. The query has ended then; the rows are in memory, and in
    /// the query's share of it, until they are read.
    ///
    /// # Errors
    /// When the query fails, or there is no room for the rows.
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
