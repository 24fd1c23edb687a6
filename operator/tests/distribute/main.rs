//! In: the fleet's server as the operator runs it, and agents that are gRPC clients. Out: whether it keeps its promises.

mod agent;
mod api;
mod auth;
mod hostile;
mod isolation;
mod lifecycle;
mod mutated;
mod operator;
mod policies;
mod rollout;
mod writes;
