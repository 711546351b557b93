//! All integration tests of lakegate, as one binary, so that the engine is linked once.
//!
//! One module a subject; nothing but `mod` lines here.

mod oracle;
mod sample;
