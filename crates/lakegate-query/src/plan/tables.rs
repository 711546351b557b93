//! Opens and refreshes a project's tables and fills the block cache. Row-level access is decided in `govern`.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use futures::FutureExt;
use futures::future::join_all;
use lakegate_core::error::{Code, Error};
use lakegate_core::project::{Finding, Hot, Position, Project, Table};

use super::away::Unavailable;
use super::{Away, PlannedProject, bare_session};
use crate::engine::failure;
use crate::govern::masking::stand_in_key;
use crate::govern::template;
use crate::hot::{Heat, HotMemory};
use crate::lake::{Lake, LakeTable};
use crate::shortcut::Shortcut;

/// Maximum attempts to open a table whose files are replaced during the read.
const MOST_TRIES: usize = 3;

/// Opens the tables of a project as far as they can be read. Also returns the findings about the lake as a whole, and
/// the unavailable tables with the reason for each.
pub(super) async fn open(
    project: &Project,
    lake: &Lake,
    runtime: &Arc<RuntimeEnv>,
    before: Option<&PlannedProject>,
) -> (Vec<Arc<LakeTable>>, Vec<Finding>, Away) {
    let bare = match bare_session(lake, Arc::clone(runtime)) {
        Ok(session) => session,
        Err(error) => {
            let position = Position::start("lakegate.toml");
            let finding = Finding::new(position, format!("the lake cannot be opened: {error}"));
            return (Vec::new(), vec![finding], Away::default());
        }
    };
    let opening = project.config.tables.values().map(|table| {
        let known = before.and_then(|before| before.tables.iter().find(|before| before.name() == table.name));
        let is_kept_alike = before.is_some_and(|before| before.keeps_as(project, table));
        let bare = &bare;
        async move {
            let mut opened = LakeTable::open(lake, table, bare, known).boxed().await;
            for _ in 1..MOST_TRIES {
                // The new files may be there on the next attempt. If the store is unreachable, retrying is useless.
                if !opened.as_ref().is_err_and(|fault| fault.is_passing && !lake.is_lost()) {
                    break;
                }
                opened = LakeTable::open(lake, table, bare, known).boxed().await;
            }
            let mut seen = None;
            if known.is_none() && opened.as_ref().is_err_and(|fault| !fault.is_passing) {
                // Record the version before the second attempt, so that files which are replaced during that attempt
                // count as changed.
                seen = LakeTable::newest(lake, table).await.ok();
                opened = LakeTable::open(lake, table, bare, known).boxed().await;
            }
            // A table with other cache settings becomes a new table, which takes over the cached blocks.
            let kept = |table: Arc<LakeTable>| match known.is_some_and(|known| Arc::ptr_eq(known, &table)) {
                true if !is_kept_alike => Arc::new(table.again()),
                _ => table,
            };
            let before = known.filter(|known| known.is_declared_so(table)).map(|known| kept(Arc::clone(known)));
            (opened.map(kept), before, seen)
        }
    });
    let mut tables = Vec::new();
    let mut away = Away::default();
    let is_served = before.is_some();
    for ((opened, before, seen), table) in join_all(opening).await.into_iter().zip(project.config.tables.values()) {
        match opened {
            Ok(opened) => tables.push(opened),
            Err(fault) => {
                let reason = fault.source.map(|source| source.to_string()).unwrap_or_default();
                let reason = reason.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
                let message = format!("table `{}`: {}{reason}", table.name, fault.message);
                let finding = Finding { position: table.location_position.clone(), message, help: fault.help };
                // A table that its catalog withdrew must not keep its earlier version; others may.
                match before.filter(|_| !(fault.is_withdrawn && is_served)) {
                    // A broken table must not stop the others from being served.
                    Some(before) => {
                        away.keep_table(&table.name, finding);
                        tables.push(before);
                    }
                    None => {
                        let is_passing = fault.is_passing;
                        away.add_table(&table.name, Unavailable { reason: finding, is_passing, seen });
                    }
                }
            }
        }
    }
    (tables, Vec::new(), away)
}

impl PlannedProject {
    /// Whether `project` keeps a table resident with the same settings as this project.
    fn keeps_as(&self, project: &Project, table: &Table) -> bool {
        let (of, before) = (&project.config, &self.project.config);
        let hot = before.tables.get(&table.name).map(|table| table.hot);
        of.server.cache_limit_bytes == before.server.cache_limit_bytes && hot == Some(table.hot)
    }

    /// The reasons why this project cannot replace another: tables that are broken here, and that `before` served or
    /// did not declare.
    pub fn newly_broken(&self, before: &Self) -> Vec<Finding> {
        let was_so = |name: &str| {
            let of = |project: &Self| project.project.config.tables.get(name).map(LakeTable::declaration);
            before.away.table(name).is_some() && of(self) == of(before)
        };
        self.away.broken().filter(|(name, _)| !was_so(name)).map(|(_, reason)| reason.clone()).collect()
    }

    /// Names of the tables whose files in the lake changed since they were opened; and, if the files of a table cannot
    /// be listed, the first such table with the error.
    pub async fn changed_tables(&self) -> (BTreeSet<String>, Option<(String, Error)>) {
        let config = &self.project.config;
        let look = async |declared: &Table| match self.tables.iter().find(|table| table.name() == declared.name) {
            Some(table) => table.is_current(&self.lake, declared).await,
            None => match self.away.table(&declared.name) {
                // A broken table stays broken until its files change. If it has no files, there is nothing new to
                // report.
                Some(away) if !away.is_passing => Ok(LakeTable::newest(&self.lake, declared).await.ok() == away.seen),
                // A table that can be listed may be readable again.
                _ => LakeTable::newest(&self.lake, declared).await.map(|_| false),
            },
        };
        let (mut changed, mut failed) = (BTreeSet::new(), None);
        for (declared, looked) in config.tables.values().zip(join_all(config.tables.values().map(look)).await) {
            match looked {
                Ok(true) => self.withdrawn.remove(&declared.name),
                Ok(false) => drop(changed.insert(declared.name.clone())),
                Err(fault) if fault.is_withdrawn && self.tables.iter().any(|table| table.name() == declared.name) => {
                    // Takes effect now, even if the project without this table is never served.
                    self.withdrawn.add(&declared.name);
                    changed.insert(declared.name.clone());
                }
                Err(fault) => {
                    let error = Error::new(Code::LakeUnavailable, fault.message);
                    let error = match fault.source {
                        Some(source) => error.source(source),
                        None => error,
                    };
                    failed.get_or_insert((declared.name.clone(), error));
                }
            }
        }
        (changed, failed)
    }

    /// Keeps up to `most_bytes` of the columns that requests decode in the block cache; 0 turns the cache off. Blocks
    /// that the project before cached of the same files stay. Returns the names of the resident tables.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn keep_hot(&self, most_bytes: usize) -> Result<Vec<&str>, Error> {
        let earlier = self.tables.iter().find_map(|table| table.memory());
        let memory = match earlier.filter(|memory| memory.budget() == most_bytes) {
            Some(memory) => memory,
            None => {
                self.tables.iter().for_each(|table| drop(table.take_earlier()));
                HotMemory::new(most_bytes)
            }
        };
        let (mut names, mut heated) = (Vec::new(), BTreeSet::new());
        // Without tables, because a cached table must not keep the others alive, which will be replaced.
        let bare = Arc::new(bare_session(&self.lake, self.runtime()).map_err(failure)?);
        let context = bare.task_ctx();
        for table in &self.tables {
            let hot = self.project.config.tables.get(table.name()).map_or(Hot::Auto, |declared| declared.hot);
            if most_bytes == 0 || hot == Hot::Off {
                drop(table.take_earlier());
                continue;
            }
            if table.hot().is_none() {
                let (memory, session, context) = (Arc::clone(&memory), Arc::clone(&bare), Arc::clone(&context));
                let heat = Heat { memory, session, context, is_pinned: hot == Hot::Pinned };
                // A panic of the footer reader means that a footer is broken; the ordinary plan reads this table.
                match AssertUnwindSafe(table.heat(&heat)).catch_unwind().await {
                    Ok(heating) => heating.map_err(failure)?,
                    Err(_) => {
                        tracing::warn!(table = table.name(), "nothing is kept of a table whose footers are odd");
                        continue;
                    }
                }
                heated.insert(table.name().to_owned());
            }
            names.push(table.name());
        }
        let _ = self.hot.set(memory);
        for endpoint in self.endpoints.values() {
            if !self.policies.reach(&endpoint.tables).is_disjoint(&heated) {
                endpoint.templates.clear();
            }
        }
        Ok(names)
    }

    /// Builds the indexes that the earlier versions of the tables had, so that requests do not wait for them.
    pub async fn index_as_before(&self) {
        for table in &self.tables {
            let Some(hot) = table.hot() else { continue };
            if let Err(error) = hot.index_as_before().await {
                // A request that needs the index reports the error.
                tracing::debug!(%error, table = table.name(), "not indexed");
            }
        }
    }

    /// Builds what requests of any caller will need of resident tables: the indexes over the join keys of endpoints.
    /// Skips endpoints that were taken over, because the project before has built their indexes.
    pub async fn warm(&self) {
        let stand_in = stand_in_key();
        let maker = self.maker(Some(&stand_in));
        for endpoint in self.fresh.iter().filter_map(|name| self.endpoints.get(name)) {
            let Ok(template) = template::make(&endpoint.plan, &endpoint.usual_shape(), maker, &[]) else { continue };
            let Some(shortcut) = Shortcut::of(&template.plan, &template.slots, &self.session).await else { continue };
            if let Err(error) = shortcut.warm().await {
                // A request to this endpoint reports the error.
                tracing::debug!(%error, endpoint = endpoint.endpoint.name, "not warm");
            }
        }
    }

    /// Bytes held by the block cache.
    pub fn hot_bytes(&self) -> usize {
        self.hot.get().map_or(0, |memory| memory.used())
    }
}
