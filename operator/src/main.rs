//! In: the command line and the cluster. Out: a running operator.

fn main() {}
