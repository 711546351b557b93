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

use crate::seal::{Place, Seal};

/// The maximum age of the first page.
const LONGEST: TimeDelta = TimeDelta::days(1);

/// The requested page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    offset: u64,
    size: u32,
    /// The position from the cursor; `None` for the first page.
    follows: Option<Place>,
}

/// The times that all pages of a response share.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// The value of `now()`.
    pub now: DateTime<Utc>,
    /// The value of `as_of` for the tables as they are read, if one of them supports time travel.
    pub state: Option<AsOf>,
}

impl Page {
    /// The requested page; `None` if the request asks for no paging.
    ///
    /// # Errors
    /// If the cursor was not issued by this server.
    pub fn of(modifiers: &Modifiers, seal: &Seal) -> Result<Option<Self>, Error> {
        let Some(asked) = modifiers.page() else { return Ok(None) };
        let follows = asked.cursor.map(|cursor| seal.open(cursor)).transpose()?;
        let size = asked.size.and_then(|size| u32::try_from(size).ok()).or(follows.map(|place| place.size));
        let offset = follows.map_or(0, |place| place.offset);
        Ok(size.map(|size| Self { offset, size, follows }))
    }

    /// The time for which the query runs: that of the first page.
    ///
    /// # Errors
    /// [`Code::ResultGone`] if that is too long ago, so that a cursor does not give access to the past.
    pub fn moment(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let moment = self.follows.map_or_else(|| now.timestamp_micros(), |place| place.moment);
        let moment = DateTime::from_timestamp_micros(moment).filter(|moment| now - moment <= LONGEST);
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
    pub fn check(&self, plan: &GovernedPlan, seal: &Seal) -> Result<(), Error> {
        let Some(place) = self.follows else { return Ok(()) };
        if place.answer != seal.answer(plan.rows()) {
            return Err(foreign_cursor());
        }
        if place.versions != seal.versions(plan.versions()) {
            return Err(gone());
        }
        Ok(())
    }

    /// The `as_of` for the version of the page before, if the tables have changed since.
    pub fn past_to_ask(&self, plan: &GovernedPlan, seal: &Seal) -> Option<AsOf> {
        let place = self.follows.filter(|place| place.answer == seal.answer(plan.rows()))?;
        let has_changed = place.versions != seal.versions(plan.versions());
        place.state.filter(|_| has_changed)
    }

    /// Reports that the page is gone if its version of the tables is; returns other errors unchanged.
    ///
    /// # Errors
    /// Always.
    pub fn gone_for<T>(error: Error) -> Result<T, Error> {
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
        seal: &Seal,
        moments: Moments,
    ) -> Result<(BatchStream, Option<String>), Error> {
        let size = u64::from(self.size);
        let next = Place {
            offset: self.offset.saturating_add(size),
            size: self.size,
            moment: moments.now.timestamp_micros(),
            state: moments.state,
            answer: seal.answer(plan.rows()),
            versions: seal.versions(plan.versions()),
        };
        // The extra row that reveals a next page is not part of the response.
        let limits = Limits { max_rows: limits.max_rows.filter(|most| *most < size), ..limits };
        let (rows, has_more) = engine.run(plan, limits).await?.first(size).await?;
        Ok((rows, has_more.then(|| seal.cursor(&next))))
    }
}

fn gone() -> Error {
    Error::new(Code::ResultGone, "the data has changed since the page before").hint("begin anew without `cursor`")
}
