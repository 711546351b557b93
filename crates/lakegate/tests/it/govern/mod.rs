//! Row filters and minimum group sizes: no response depends on rows that the caller may not see.

mod error_oracle;
mod noninterference;
mod policy_lists;
mod small_groups;
