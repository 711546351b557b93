//! Pages of an answer: `page_size` asks for the first, the cursor that comes with each page for the next.
//!
//! A page is a part of the rows in an order in which every row has one place, so pages have no row twice and miss none as
//! long as the tables are of one version. When they have gone on, the next page is of their past, where they keep one;
//! otherwise it is gone (410), and the caller begins anew.

use chrono::{DateTime, TimeDelta, Utc};
use lakegate_core::catalog::{AsOf, Modifiers, Window, foreign_cursor};
use lakegate_core::error::{Code, Error};
use lakegate_query::engine::{BatchStream, Engine, Limits};
use lakegate_query::govern::GovernedPlan;

use crate::seal::{Place, Seal};

/// How long somebody may go through the pages of one answer.
const LONGEST: TimeDelta = TimeDelta::days(1);

/// The page that a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    offset: u64,
    size: u32,
    /// What the page before was a page of.
    follows: Option<Place>,
}

/// What all pages of an answer share.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// What `now()` is.
    pub now: DateTime<Utc>,
    /// What asks for the tables as they are read, where one of them keeps its past.
    pub state: Option<AsOf>,
}

impl Page {
    /// The page that was asked for, if one was.
    ///
    /// # Errors
    /// A cursor that was not given out.
    pub fn of(modifiers: &Modifiers, seal: &Seal) -> Result<Option<Self>, Error> {
        let Some(asked) = modifiers.page() else { return Ok(None) };
        let follows = asked.cursor.map(|cursor| seal.open(cursor)).transpose()?;
        let size = asked.size.and_then(|size| u32::try_from(size).ok()).or(follows.map(|place| place.size));
        let offset = follows.map_or(0, |place| place.offset);
        Ok(size.map(|size| Self { offset, size, follows }))
    }

    /// The moment for which the query is asked: that of the first page.
    ///
    /// # Errors
    /// [`Code::ResultGone`] when that is long ago: a cursor is no way to ask for the past.
    pub fn moment(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let moment = self.follows.map_or_else(|| now.timestamp_micros(), |place| place.moment);
        let moment = DateTime::from_timestamp_micros(moment).filter(|moment| now - moment <= LONGEST);
        moment.ok_or_else(|| {
            Error::new(Code::ResultGone, "the first page was asked for too long ago")
                .hint("begin anew without `cursor`")
        })
    }

    /// The rows to run for: one more than are given, which tells whether there is a next page.
    pub fn window(&self) -> Window {
        Window { offset: self.offset, limit: Some(u64::from(self.size) + 1), looks_ahead: true }
    }

    /// Refuses a page that does not go on with the answer of the page before.
    ///
    /// # Errors
    /// [`Code::ArgumentsInvalid`] when it is another answer, [`Code::ResultGone`] when its tables have another version.
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

    /// What asks for the tables as they were for the page before, when they are not as they were then.
    pub fn past_to_ask(&self, plan: &GovernedPlan, seal: &Seal) -> Option<AsOf> {
        let place = self.follows.filter(|place| place.answer == seal.answer(plan.rows()))?;
        let has_changed = place.versions != seal.versions(plan.versions());
        place.state.filter(|_| has_changed)
    }

    /// Says that the page is gone when its state of the tables is; other errors stay.
    ///
    /// # Errors
    /// Always.
    pub fn gone_for<T>(error: Error) -> Result<T, Error> {
        match error.code {
            Code::AsOfUnknown | Code::AsOfGone => Err(gone().source(error)),
            _ => Err(error),
        }
    }

    /// Reads the rows, and gives the cursor of the next page if there are more.
    ///
    /// # Errors
    /// When the query fails.
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
        // The row that only tells of a next page is not one of the answer.
        let limits = Limits { max_rows: limits.max_rows.filter(|most| *most < size), ..limits };
        let (rows, has_more) = engine.run(plan, limits).await?.first(size).await?;
        Ok((rows, has_more.then(|| seal.cursor(&next))))
    }
}

fn gone() -> Error {
    Error::new(Code::ResultGone, "the data has changed since the page before").hint("begin anew without `cursor`")
}
