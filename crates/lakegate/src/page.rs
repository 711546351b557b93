//! Paging: `page_size` requests the first page, and the cursor of each page requests the next one.
//!
//! Pages use a total order of the rows, so no row is repeated or missing while the tables keep their version. If the
//! tables have changed, the next page reads their old version if they keep it (time travel). Otherwise the page is gone
//! (410), and the caller starts over.

use chrono::{DateTime, TimeDelta, Utc};
use lakegate_core::catalog::{AsOf, Modifiers, RowRange, foreign_cursor};
use lakegate_core::error::{Code, Error};
use lakegate_query::engine::{BatchStream, Engine, Limits};
use lakegate_query::govern::GovernedPlan;

use crate::signer::{PagePosition, Signer};

/// The maximum age of the first page.
const MAX_AGE: TimeDelta = TimeDelta::days(1);

/// The requested page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    offset: u64,
    size: u32,
    /// The position from the cursor; `None` for the first page.
    previous: Option<PagePosition>,
}

/// The times that all pages of a response share.
#[derive(Clone, Copy, Debug)]
pub struct PageTimes {
    /// The value of `now()`.
    pub now: DateTime<Utc>,
    /// The value of `as_of` for the tables as they are read, if one of them supports time travel.
    pub as_of: Option<AsOf>,
}

impl Page {
    /// The requested page; `None` if the request asks for no paging.
    ///
    /// # Errors
    /// If the cursor was not issued by this server.
    pub fn from_modifiers(modifiers: &Modifiers, signer: &Signer) -> Result<Option<Self>, Error> {
        let Some(requested) = modifiers.page() else { return Ok(None) };
        let previous = requested.cursor.map(|cursor| signer.verify_cursor(cursor)).transpose()?;
        let size = requested.size.and_then(|size| u32::try_from(size).ok()).or(previous.map(|position| position.size));
        let offset = previous.map_or(0, |position| position.offset);
        Ok(size.map(|size| Self { offset, size, previous }))
    }

    /// The time for which the query runs: that of the first page.
    ///
    /// # Errors
    /// [`Code::ResultGone`] if that is too long ago, so that a cursor does not give access to the past.
    pub fn query_time(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let moment = self.previous.map_or_else(|| now.timestamp_micros(), |position| position.now_micros);
        let moment = DateTime::from_timestamp_micros(moment).filter(|moment| now - moment <= MAX_AGE);
        moment.ok_or_else(|| {
            Error::new(Code::ResultGone, "the first page was asked for too long ago")
                .hint("begin anew without `cursor`")
        })
    }

    /// The rows to read: one more than the page, which shows whether there is a next page.
    pub fn row_range(&self) -> RowRange {
        RowRange { offset: self.offset, limit: Some(u64::from(self.size) + 1), fetches_one_extra: true }
    }

    /// Checks that the page continues the response of the page before.
    ///
    /// # Errors
    /// [`Code::ArgumentsInvalid`] if it is another response, [`Code::ResultGone`] if its tables have another version.
    pub fn check_continues(&self, plan: &GovernedPlan, signer: &Signer) -> Result<(), Error> {
        let Some(position) = self.previous else { return Ok(()) };
        if position.response != signer.response_digest(plan.rows()) {
            return Err(foreign_cursor());
        }
        if position.versions != signer.versions_digest(plan.versions()) {
            return Err(gone());
        }
        Ok(())
    }

    /// The `as_of` for the version of the page before, if the tables have changed since.
    pub fn as_of_for_page(&self, plan: &GovernedPlan, signer: &Signer) -> Option<AsOf> {
        let position = self.previous.filter(|position| position.response == signer.response_digest(plan.rows()))?;
        let has_changed = position.versions != signer.versions_digest(plan.versions());
        position.as_of.filter(|_| has_changed)
    }

    /// Reports that the page is gone if its version of the tables is; returns other errors unchanged.
    ///
    /// # Errors
    /// Always.
    pub fn map_gone<T>(error: Error) -> Result<T, Error> {
        match error.code {
            Code::AsOfUnknown | Code::AsOfGone => Err(gone().source(error)),
            _ => Err(error),
        }
    }

    /// Reads the rows. Also returns the cursor of the next page, if there are more rows.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn read(
        &self,
        engine: &dyn Engine,
        plan: GovernedPlan,
        limits: Limits,
        signer: &Signer,
        times: PageTimes,
    ) -> Result<(BatchStream, Option<String>), Error> {
        let size = u64::from(self.size);
        let next = PagePosition {
            offset: self.offset.saturating_add(size),
            size: self.size,
            now_micros: times.now.timestamp_micros(),
            as_of: times.as_of,
            response: signer.response_digest(plan.rows()),
            versions: signer.versions_digest(plan.versions()),
        };
        // The extra row that reveals a next page is not part of the response.
        let limits = Limits { max_rows: limits.max_rows.filter(|most| *most < size), ..limits };
        let (rows, has_more) = engine.run(plan, limits).await?.first(size).await?;
        Ok((rows, has_more.then(|| signer.sign_cursor(&next))))
    }
}

fn gone() -> Error {
    Error::new(Code::ResultGone, "the data has changed since the page before").hint("begin anew without `cursor`")
}
