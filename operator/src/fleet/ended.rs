//! In: what an agent did, or what the operator became. Out: the status with which a stream ends, or a fetch is refused.

use tonic::{Code, Status};

/// Why a stream ends, or a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// This replica does not serve agents any more.
    #[error("this operator is not the leader any more; dial again")]
    NotLeader,
    /// It has been open for long, and its token may be void by now.
    #[error("the stream has been open for long; dial again with a current token")]
    Renewal,
    /// A newer stream of the node.
    #[error("the node has opened a newer stream")]
    Replaced,
    /// The node was deleted.
    #[error("the node is not in the cluster any more")]
    NodeDeleted,
    /// Streams come too often.
    #[error("the node opens too many streams; wait a minute")]
    TooManyStreams,
    /// More nodes than are remembered.
    #[error("the operator knows as many nodes as it can")]
    TooManyNodes,
    /// More kernels than are remembered.
    #[error(
        "the operator knows as many different kernels as it may; raise --kernel-profiles-mib (in the chart \
         operator.kernelProfilesMiB) and its limit of memory"
    )]
    TooManyKernels,
    /// Messages come too often.
    #[error("the agent sends too many messages")]
    TooManyMessages,
    /// More calls at once than allowed.
    #[error("the node fetches too many artefacts at once")]
    TooManyFetches,
    /// It took too long.
    #[error("no {0} in time")]
    TooLate(&'static str),
    /// Not what the protocol has at this place.
    #[error("{0} is out of order here")]
    OutOfOrder(&'static str),
    /// A field that is not as it must be.
    #[error("{field} is not valid: {problem}")]
    Invalid {
        /// Of which message.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The agent runs a newer set than the one that it was sent.
    #[error("the agent runs a newer generation than it was sent; say hello again")]
    NewerGeneration,
    /// Not an artefact of the node's set.
    #[error("the artefact is not part of what this node was sent")]
    NotItsArtefact,
    /// The agent closed it, or the connection broke.
    #[error("the agent has closed the stream: {0}")]
    Closed(String),
}

impl Ended {
    /// A field that is wrong.
    pub fn invalid(field: &'static str, problem: impl ToString) -> Ended {
        Ended::Invalid { field, problem: problem.to_string() }
    }
}

impl From<Ended> for Status {
    fn from(ended: Ended) -> Status {
        let code = match &ended {
            Ended::NotLeader | Ended::Renewal => Code::Unavailable,
            Ended::Replaced => Code::Aborted,
            Ended::NodeDeleted => Code::Unauthenticated,
            Ended::TooManyStreams
            | Ended::TooManyNodes
            | Ended::TooManyKernels
            | Ended::TooManyMessages
            | Ended::TooManyFetches => Code::ResourceExhausted,
            Ended::TooLate(_) => Code::DeadlineExceeded,
            Ended::OutOfOrder(_) | Ended::NewerGeneration => Code::FailedPrecondition,
            Ended::Invalid { .. } => Code::InvalidArgument,
            Ended::NotItsArtefact => Code::NotFound,
            Ended::Closed(_) => Code::Cancelled,
        };
        Status::new(code, ended.to_string())
    }
}
