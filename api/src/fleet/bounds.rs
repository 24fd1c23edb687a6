//! In: the limits of the stream. Out: the shapes that messages are checked against before they are decoded.

use super::{AgentMessage, FAILURES_MAX, FetchReply, FetchRequest, HOOKS_MAX, OperatorMessage, POLICIES_MAX};
use crate::shape::{Element, Repeated, Shape, Shaped};

/// Numbers of one policy: more than there are counters, for later versions.
pub const VALUES_MAX: usize = 64;

const fn messages(tag: u64, max: usize, fields: &'static [Repeated]) -> Repeated {
    Repeated { tag, max, element: Element::Message(fields) }
}

/// Policies in one program: as many as it has hook entries (the compiler allows 256).
pub const FAILURE_POLICIES_MAX: usize = 256;

/// In memory at most 64 x 256 policies of 48 bytes, or 1,024 policies with 64 numbers of 8 bytes: 0.8 MB besides the
/// message's own 2 MiB.
const ELEMENTS: usize = POLICIES_MAX * (VALUES_MAX + 1) + 8;

impl Shaped for AgentMessage {
    const SHAPE: Shape = Shape {
        total: ELEMENTS,
        fields: &[
            messages(1, 1, &[]),
            messages(2, 1, &[]),
            messages(3, 1, &[messages(3, FAILURES_MAX, &[messages(3, FAILURE_POLICIES_MAX, &[])])]),
            messages(
                4,
                1,
                &[messages(
                    1,
                    POLICIES_MAX,
                    &[messages(1, 1, &[]), Repeated { tag: 2, max: VALUES_MAX, element: Element::Number }],
                )],
            ),
        ],
    };
}

impl Shaped for OperatorMessage {
    const SHAPE: Shape = Shape {
        total: HOOKS_MAX + 8,
        fields: &[
            messages(1, 1, &[]),
            messages(2, 1, &[Repeated { tag: 2, max: HOOKS_MAX, element: Element::Bytes }]),
        ],
    };
}

impl Shaped for FetchRequest {
    const SHAPE: Shape = Shape { total: 0, fields: &[] };
}

impl Shaped for FetchReply {
    const SHAPE: Shape = Shape { total: 0, fields: &[] };
}
