//! Workloads that several benches share.
