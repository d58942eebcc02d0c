//! End-to-end comparisons with other systems.
