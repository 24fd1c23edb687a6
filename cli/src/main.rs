//! ferra
fn main() {}
