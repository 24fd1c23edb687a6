//! In: policies and calls of hooked functions. Out: what compiled programs do with them in a user-space eBPF
//! machine over a fake kernel, compared with the reference evaluator.

mod machine;
mod places;
mod vm;
mod world;
