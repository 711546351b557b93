//! Masks of points.
