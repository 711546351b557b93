//! Subqueries under `OR`, `NOT`, `CASE` and `IS`, over values with NULLs, in every position: answers as SQL defines them.
