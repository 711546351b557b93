//! Helpers for the other folders: servers, clients, object stores and the oracle. It contains no tests.

pub(crate) mod app;
pub(crate) mod binary;
pub(crate) mod canary_project;
pub(crate) mod eventually;
pub(crate) mod issuer;
pub(crate) mod object_store;
pub(crate) mod oracle;
pub(crate) mod secure;
pub(crate) mod wire;
