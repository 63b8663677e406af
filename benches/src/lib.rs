//! Workloads that benches share, and a way to measure rivals side by side.

pub mod allocators;
pub mod random;
pub mod rounds;
