//! All integration tests of lakegate, as one binary, so that the engine is linked once.
//!
//! Everything that needs more than one crate, a process or a file belongs here; rules that are pure are tested where
//! they are. One module a subject, its name starting with the part's; nothing but `mod` lines in this file.

mod access_cli;
mod access_import;
mod access_store;
mod admin_api;
mod admin_changes;
mod admin_export;
mod admin_process;
mod admin_refusals;
mod app;
mod audit_files;
mod audit_records;
mod audit_server;
mod audit_strict;
mod binary;
mod error_oracle;
mod explain;
mod grant_columns;
mod grant_rules;
mod http_answers;
mod http_arguments;
mod http_bodies;
mod http_clock;
mod http_formats;
mod http_pages;
mod http_parameters;
mod http_refusals;
mod http_requests;
mod http_revocation;
mod http_texts;
mod http_validators;
mod identity_access;
mod identity_issuer;
mod identity_keys;
mod identity_tokens;
mod noninterference;
mod oracle;
mod policy_lists;
mod policy_test;
mod policy_test_faults;
mod policy_test_matrix;
mod project_check;
mod readme;
mod reload;
mod sample;
mod sample_policies;
mod sample_roles;
mod server_demo;
mod server_process;
mod server_streaming;
mod small_groups;
mod wire;
