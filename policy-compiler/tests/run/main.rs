//! In: policies and calls of hooked functions. Out: what compiled programs do with them in a user-space eBPF
//! machine over a fake kernel, compared with the reference evaluator.

mod budget;
mod choices;
mod compare;
mod document;
mod examples;
mod fields;
mod losses;
mod machine;
mod node;
mod notation;
mod operators;
mod places;
mod profile;
mod properties;
mod random;
mod record;
mod returns;
mod scenario;
mod syscalls;
mod texts;
mod vm;
mod workloads;
mod world;
