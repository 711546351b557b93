//! Files in odd dress, and what becomes of them.
