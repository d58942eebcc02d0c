//! Continual personalization, measured: protocol, baselines, reports.
