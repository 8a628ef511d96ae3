//! The total order of values across types.
