//! All integration tests of lakegate, as one binary, so that the engine is linked once.
//!
//! Tests that need more than one crate, a process or a file belong here; pure rules are tested next to their code. The
//! folders mirror `src`: each area has one folder, or one file. This file contains only the list of areas. The data
//! folder `check` contains the cases of `cli/check.rs`.

/// The access store, and what grants allow.
mod access;
/// The admin API, and the record of each change.
mod admin;
/// The audit log: its records, its files, and `audit = "strict"`.
mod audit;
/// Commands that run and exit, and the README and the pages in `docs/`, which show commands.
mod cli;
/// Row filters and minimum group sizes: no response depends on rows that the caller may not see.
mod govern;
/// Routes, parameters, arguments, rows, pages, refusals and the generated documentation.
mod http;
/// Callers with a JWT of an issuer.
mod identity;
/// `lakegate ingest`: recipes, faults, and lakes in an object store.
mod ingest;
/// Lakes as they are served: object stores, table formats, text files and earlier versions.
mod lake;
/// Limits of requests and principals: rows, size, scanned data, rates and concurrency.
mod limits;
/// The log, metrics, traces and `Server-Timing`.
mod observe;
/// Stages of a request to an endpoint: reading the body, negotiation, conditional requests, and the memo.
mod pipeline;
/// `lakegate test`.
mod policy_test;
/// Projects and lakes that change while the server runs.
mod reload;
/// The sample project and its data.
mod sample;
/// The real binary as a server: sockets, TLS, streaming and shutdown.
mod serve;
/// Helpers for the other folders: servers, clients, object stores and the oracle. It contains no tests.
mod support;
