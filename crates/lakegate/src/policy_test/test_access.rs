//! The principals and grants that tests run with: those of the test file, or those of the access store.

use std::collections::BTreeMap;
use std::sync::Arc;

use lakegate_core::access::{Grant, Grantee, PrincipalRecord};
use lakegate_core::error::Code;
use lakegate_core::project::{Finding, PolicyTest, PolicyTestFile, Position, suggest_or_list, suggestion};
use lakegate_query::plan::PlannedProject;

use crate::store::{Store, StoreError};

/// Principals by name, and unrevoked grants.
#[derive(Clone, Debug, Default)]
pub struct TestAccess {
    /// The principals.
    pub principals: BTreeMap<String, PrincipalRecord>,
    /// The grants.
    pub grants: Vec<Grant>,
}

/// A test with its principals and grants.
#[derive(Clone, Debug)]
pub struct Test {
    /// The path of its file.
    pub file: String,
    /// The call and its expectation.
    pub test: PolicyTest,
    /// The principals and grants.
    pub access: Arc<TestAccess>,
}

impl TestAccess {
    /// The principals and unrevoked grants of the store.
    ///
    /// # Errors
    /// If the store is unreadable.
    pub async fn from_store(store: &Store) -> Result<Self, StoreError> {
        let principals = store.principals().await?.into_iter().map(|record| (record.name.clone(), record));
        let grants = store.grants().await?.into_iter().filter(|listing| listing.revoked_at.is_none());
        Ok(Self { principals: principals.collect(), grants: grants.map(|listing| listing.grant).collect() })
    }

    /// The declarations of all files together; `None` if no file declares any.
    ///
    /// # Errors
    /// If two files declare the same principal differently.
    pub fn from_files(files: &[PolicyTestFile]) -> Result<Option<Self>, Vec<Finding>> {
        let mut all = Self::default();
        let mut findings = Vec::new();
        let mut is_declared = false;
        for file in files {
            let Some(access) = &file.access else { continue };
            is_declared = true;
            for (name, record) in &access.principals {
                let other = all.principals.insert(name.clone(), record.clone());
                if other.is_some_and(|other| other != *record) {
                    let message = format!("principal `{name}` has other roles or attributes in another file");
                    let finding = Finding::new(Position::start(&file.path), message);
                    findings
                        .push(finding.help("the matrix is about all files together; give one of them another name"));
                }
            }
            all.grants.extend(access.grants.iter().cloned());
        }
        if findings.is_empty() { Ok(is_declared.then_some(all)) } else { Err(findings) }
    }

    /// The grants to the principal and to its roles.
    pub(super) fn grants_of(&self, record: &PrincipalRecord) -> Vec<Grant> {
        let is_meant = |grant: &&Grant| match &grant.to {
            Grantee::Principal(name) => *name == record.name,
            Grantee::Role(role) => record.roles.contains(role),
        };
        self.grants.iter().filter(is_meant).cloned().collect()
    }
}

/// The tests of the files, each with its principals and grants. `stored` is required if a file declares none.
pub fn tests(files: Vec<PolicyTestFile>, stored: Option<TestAccess>) -> Vec<Test> {
    let stored = Arc::new(stored.unwrap_or_default());
    let of = |file: PolicyTestFile| {
        let access = match file.access {
            Some(access) => Arc::new(TestAccess { principals: access.principals, grants: access.grants }),
            None => Arc::clone(&stored),
        };
        let path = file.path;
        file.tests.into_iter().map(move |test| Test { file: path.clone(), test, access: Arc::clone(&access) })
    };
    files.into_iter().flat_map(of).collect()
}

/// Names in the files that do not exist in the project, or among the principals.
pub fn faults(project: &PlannedProject, files: &[PolicyTestFile], stored: Option<&TestAccess>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let endpoints = || project.endpoints().map(|planned| planned.endpoint().name.as_str()).collect::<Vec<_>>();
    for file in files {
        let own = file.access.as_ref().map(|access| &access.principals);
        let Some(principals) = own.or(stored.map(|access| &access.principals)) else { continue };
        for named in file.access.iter().flat_map(|access| &access.endpoints) {
            if project.find(&named.text).is_none() {
                let message = format!("the grant is for endpoint `{}`, which the project has not", named.text);
                let help = suggest_or_list(&named.text, endpoints());
                findings.push(Finding::new(named.position.clone(), message).help(help));
            }
        }
        for test in &file.tests {
            let name = &test.principal;
            if !principals.contains_key(&name.text) {
                let near = suggestion(&name.text, principals.keys().map(String::as_str));
                let help = match (near, own) {
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    (None, Some(_)) => format!("add `[principals.{}]` to the file", name.text),
                    (None, None) => "declare it in the file, with its grants, or add it to the access store".to_owned(),
                };
                let place = if own.is_some() { "in the file" } else { "in the access store" };
                let message = format!("there is no principal `{}` {place}", name.text);
                findings.push(Finding::new(name.position.clone(), message).help(help));
            }
            let expects_none = test.expect.status == Some(404) || test.expect.code == Some(Code::EndpointUnknown);
            if project.find(&test.endpoint.text).is_none() && !expects_none {
                let message = format!("there is no endpoint `{}`", test.endpoint.text);
                let help = suggest_or_list(&test.endpoint.text, endpoints());
                findings.push(Finding::new(test.endpoint.position.clone(), message).help(help));
            }
        }
    }
    findings
}
