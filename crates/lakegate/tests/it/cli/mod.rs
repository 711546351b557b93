//! Commands that run and exit, and the README and the pages in `docs/`, which show commands.

mod access;
mod advise;
mod check;
mod config;
mod discover;
mod explain;
mod optimize;
mod readme;
