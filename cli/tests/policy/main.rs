//! `ferra policy …` as a user runs it: the built binary, on the example policies and on every kind of bad input.
//!
//! What depends on a kernel is judged for the types in `policy-compiler/fixtures`, so that it is the same everywhere.

mod bad;
mod compile;
mod explain;
mod ferra;
mod good;
mod limits;
mod privileges;
