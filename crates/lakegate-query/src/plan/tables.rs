//! The tables of a project: opened, looked at again, kept hot. Who sees which rows of them is `govern`'s business.

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

/// How often a table is opened whose files are replaced while they are read.
const MOST_TRIES: usize = 3;

/// Opens the tables of a project, as far as they can be read; says which cannot, and why. What is wrong with the lake as a
/// whole is a fault of the project.
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
            let finding = Finding::new(position, format!("the lake can not be opened: {error}"));
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
                // Of files that are replaced just now, other ones are there in a moment. A store that is away is not.
                if !opened.as_ref().is_err_and(|fault| fault.is_passing && !lake.is_lost()) {
                    break;
                }
                opened = LakeTable::open(lake, table, bare, known).boxed().await;
            }
            let mut seen = None;
            if known.is_none() && opened.as_ref().is_err_and(|fault| !fault.is_passing) {
                // Looked at before they are read again, so that files which are replaced meanwhile count as others.
                seen = LakeTable::newest(lake, table).await.ok();
                opened = LakeTable::open(lake, table, bare, known).boxed().await;
            }
            // A table that is to be kept in another way is another one, with what it has.
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
                // A table that may not be read any more is not served as it was; others are.
                match before.filter(|_| !(fault.is_withdrawn && is_served)) {
                    // One table that is broken does not keep others from being served.
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
    /// Whether a table is kept hot in the same way by another project.
    fn keeps_as(&self, project: &Project, table: &Table) -> bool {
        let (of, before) = (&project.config, &self.project.config);
        let hot = before.tables.get(&table.name).map(|table| table.hot);
        of.server.cache_limit_bytes == before.server.cache_limit_bytes && hot == Some(table.hot)
    }

    /// Why this project cannot take the place of another: tables of it are broken that were served before, or that the other
    /// did not declare.
    pub fn newly_broken(&self, before: &Self) -> Vec<Finding> {
        let was_so = |name: &str| {
            let of = |project: &Self| project.project.config.tables.get(name).map(LakeTable::declaration);
            before.away.table(name).is_some() && of(self) == of(before)
        };
        self.away.broken().filter(|(name, _)| !was_so(name)).map(|(_, reason)| reason.clone()).collect()
    }

    /// The names of the tables whose files in the lake are no longer those that are served; and the first of those whose
    /// files can not be listed, with the reason.
    pub async fn changed_tables(&self) -> (BTreeSet<String>, Option<(String, Error)>) {
        let config = &self.project.config;
        let look = async |declared: &Table| match self.tables.iter().find(|table| table.name() == declared.name) {
            Some(table) => table.is_current(&self.lake, declared).await,
            None => match self.away.table(&declared.name) {
                // What was broken stays so until its files are others; where there are none, nothing new is known.
                Some(away) if !away.is_passing => Ok(LakeTable::newest(&self.lake, declared).await.ok() == away.seen),
                // Once it can be listed, it may be there again.
                _ => LakeTable::newest(&self.lake, declared).await.map(|_| false),
            },
        };
        let (mut changed, mut failed) = (BTreeSet::new(), None);
        for (declared, looked) in config.tables.values().zip(join_all(config.tables.values().map(look)).await) {
            match looked {
                Ok(true) => self.withdrawn.remove(&declared.name),
                Ok(false) => drop(changed.insert(declared.name.clone())),
                Err(fault) if fault.is_withdrawn && self.tables.iter().any(|table| table.name() == declared.name) => {
                    // From now on, whatever becomes of the project that is made without it.
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

    /// Keeps what requests decode of the tables, by use, in so many bytes; with 0 nothing is kept and nothing looked up. What
    /// the project before has kept of the same files stays. Gives the names of the tables that are kept.
    ///
    /// # Errors
    /// When a file can not be read.
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
        // Without tables: what is kept of one must not hold all the others, which will be replaced.
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
                // A reader of footers that panics has met one that is broken: the table is read by the ordinary plan.
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

    /// Builds the indexes that the tables had in the versions before, so that requests need not wait for them.
    pub async fn index_as_before(&self) {
        for table in &self.tables {
            let Some(hot) = table.hot() else { continue };
            if let Err(error) = hot.index_as_before().await {
                // Who asks finds the same fault, and is told.
                tracing::debug!(%error, table = table.name(), "not indexed");
            }
        }
    }

    /// Makes what requests will need of hot tables whoever calls: the indexes over the keys by which endpoints join. Those of
    /// endpoints that were taken over are there, or made by the project before.
    pub async fn warm(&self) {
        let stand_in = stand_in_key();
        let maker = self.maker(Some(&stand_in));
        for endpoint in self.fresh.iter().filter_map(|name| self.endpoints.get(name)) {
            let Ok(template) = template::make(&endpoint.plan, &endpoint.usual_shape(), maker, &[]) else { continue };
            let Some(shortcut) = Shortcut::of(&template.plan, &template.slots, &self.session).await else { continue };
            if let Err(error) = shortcut.warm().await {
                // Who asks finds the same fault, and is told.
                tracing::debug!(%error, endpoint = endpoint.endpoint.name, "not warm");
            }
        }
    }

    /// What hot tables take in memory, in bytes.
    pub fn hot_bytes(&self) -> usize {
        self.hot.get().map_or(0, |memory| memory.used())
    }
}
