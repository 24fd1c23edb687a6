//! bpf-programs
