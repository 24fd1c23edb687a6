//! In: [`Choices`]. Out: policies and calls that are likely to have something to do with each other.

pub mod calls;
pub mod filters;
pub mod policies;
pub mod pools;
pub mod shapes;
mod workloads;
