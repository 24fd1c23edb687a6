//! In: the operator's control side, as a library and as processes, with exactly the chart's roles. Out: whether it keeps
//! its promises before a real API server.

mod admit;
mod certificates;
mod chart;
mod fleet;
mod gitops;
mod lease;
mod plane;
mod process;
mod status;
