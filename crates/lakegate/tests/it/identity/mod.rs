//! Callers with a JWT of an issuer.

mod access;
mod keys;
mod tokens;
