//! In: the command line. Out: the agent of a node, until a signal.

fn main() {}
