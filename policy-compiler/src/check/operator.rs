//! In: the operators of the language. Out: which of them each argument type accepts, and what kind of values
//! each takes. This is the only such table.

use crds::operator::ArgOperator as Op;

use crate::typed::{ArgType, Side, SockField};

/// What kind of comparison an operator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Numbers, or whole text for `Equal` and `NotEqual`.
    Compare(Comparison),
    /// The start or end of a text.
    Text {
        /// Negated.
        not: bool,
        /// The end, not the start.
        end: bool,
    },
    /// Networks.
    Address {
        /// Which end.
        side: Side,
        /// Negated.
        not: bool,
    },
    /// Ports.
    Port {
        /// Which end.
        side: Side,
        /// Negated.
        not: bool,
    },
    /// Ports below 1024.
    PrivilegedPort {
        /// Which end.
        side: Side,
        /// Negated.
        not: bool,
    },
    /// A field of a socket.
    Sock(SockField),
    /// Types of files.
    FileType {
        /// Negated.
        not: bool,
    },
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// `Equal`, `NotEqual`.
    Equal {
        /// Negated.
        not: bool,
    },
    /// `GT`.
    Greater,
    /// `LT`.
    Less,
    /// `Mask`.
    Mask,
    /// `InRange`, `NotInRange`.
    Range {
        /// Negated.
        not: bool,
    },
    /// `InMap`, `NotInMap`.
    Map {
        /// Negated.
        not: bool,
    },
}

/// The kind of an operator; `None` if this version does not implement it.
pub(super) fn family(operator: Op) -> Option<Family> {
    use Family::{Address, Compare, FileType, Port, PrivilegedPort, Sock, Text};
    use Side::{Destination, Source};
    Some(match operator {
        Op::Equal => Compare(Comparison::Equal { not: false }),
        Op::NotEqual => Compare(Comparison::Equal { not: true }),
        Op::Gt | Op::GreaterThan => Compare(Comparison::Greater),
        Op::Lt | Op::LessThan => Compare(Comparison::Less),
        Op::Mask => Compare(Comparison::Mask),
        Op::InRange => Compare(Comparison::Range { not: false }),
        Op::NotInRange => Compare(Comparison::Range { not: true }),
        Op::InMap => Compare(Comparison::Map { not: false }),
        Op::NotInMap => Compare(Comparison::Map { not: true }),
        Op::Prefix => Text { not: false, end: false },
        Op::NotPrefix => Text { not: true, end: false },
        Op::Postfix => Text { not: false, end: true },
        Op::NotPostfix => Text { not: true, end: true },
        Op::SAddr => Address { side: Source, not: false },
        Op::NotSAddr => Address { side: Source, not: true },
        Op::DAddr => Address { side: Destination, not: false },
        Op::NotDAddr => Address { side: Destination, not: true },
        Op::SPort => Port { side: Source, not: false },
        Op::NotSPort => Port { side: Source, not: true },
        Op::DPort => Port { side: Destination, not: false },
        Op::NotDPort => Port { side: Destination, not: true },
        Op::SPortPriv => PrivilegedPort { side: Source, not: false },
        Op::NotSportPriv | Op::NotSPortPriv => PrivilegedPort { side: Source, not: true },
        Op::DPortPriv => PrivilegedPort { side: Destination, not: false },
        Op::NotDPortPriv => PrivilegedPort { side: Destination, not: true },
        Op::Protocol => Sock(SockField::Protocol),
        Op::Family => Sock(SockField::Family),
        Op::State => Sock(SockField::State),
        Op::FileType => FileType { not: false },
        Op::NotFileType => FileType { not: true },
        // Compared as two arguments, before an operator's kind matters.
        Op::CapabilitiesGained => return None,
        Op::SubString | Op::SubStringIgnCase | Op::CelExpr => return None,
    })
}

const INTEGER: &[Op] = &[
    Op::Equal,
    Op::NotEqual,
    Op::Gt,
    Op::GreaterThan,
    Op::Lt,
    Op::LessThan,
    Op::Mask,
    Op::InRange,
    Op::NotInRange,
    Op::InMap,
    Op::NotInMap,
];
const TEXT: &[Op] = &[Op::Equal, Op::NotEqual, Op::Prefix, Op::NotPrefix, Op::Postfix, Op::NotPostfix];
const FILE: &[Op] = &[
    Op::Equal,
    Op::NotEqual,
    Op::Prefix,
    Op::NotPrefix,
    Op::Postfix,
    Op::NotPostfix,
    Op::FileType,
    Op::NotFileType,
];
const AUTO: &[Op] = &[
    Op::Equal,
    Op::NotEqual,
    Op::Gt,
    Op::GreaterThan,
    Op::Lt,
    Op::LessThan,
    Op::Mask,
    Op::InRange,
    Op::NotInRange,
    Op::InMap,
    Op::NotInMap,
    Op::Prefix,
    Op::NotPrefix,
    Op::Postfix,
    Op::NotPostfix,
];
const CAP_SET: &[Op] = &[
    Op::Equal,
    Op::NotEqual,
    Op::Mask,
    Op::Gt,
    Op::GreaterThan,
    Op::Lt,
    Op::LessThan,
    Op::CapabilitiesGained,
];
const SOCKET: &[Op] = &[
    Op::SAddr,
    Op::NotSAddr,
    Op::DAddr,
    Op::NotDAddr,
    Op::SPort,
    Op::NotSPort,
    Op::SPortPriv,
    Op::NotSportPriv,
    Op::NotSPortPriv,
    Op::DPort,
    Op::NotDPort,
    Op::DPortPriv,
    Op::NotDPortPriv,
    Op::Protocol,
    Op::Family,
    Op::State,
];
const SOCKADDR: &[Op] = &[
    Op::SAddr,
    Op::NotSAddr,
    Op::SPort,
    Op::NotSPort,
    Op::SPortPriv,
    Op::NotSportPriv,
    Op::NotSPortPriv,
    Op::Family,
];

/// The operators that an argument type accepts.
pub(super) fn accepted(ty: ArgType) -> &'static [Op] {
    match ty {
        ArgType::Int(_) | ArgType::Syscall64 => INTEGER,
        ArgType::Auto => AUTO,
        ArgType::String
        | ArgType::CharBuf
        | ArgType::Fd
        | ArgType::Dentry
        | ArgType::Filename
        | ArgType::LinuxBinprm => TEXT,
        ArgType::File | ArgType::Path => FILE,
        ArgType::Sock | ArgType::Socket => SOCKET,
        // A packet has no state; that is the last operator of the list.
        ArgType::Skb => SOCKET.split_last().map_or(&[], |(_, others)| others),
        ArgType::Sockaddr => SOCKADDR,
        ArgType::CapSet(_) => CAP_SET,
        ArgType::Cred | ArgType::Capability | ArgType::Nop => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skb_is_sock_without_state() {
        assert!(accepted(ArgType::Sock).contains(&Op::State));
        assert!(!accepted(ArgType::Skb).contains(&Op::State));
        assert!(accepted(ArgType::Skb).contains(&Op::Family));
    }

    #[test]
    fn accepted_operators_are_implemented() {
        for ty in [ArgType::Auto, ArgType::File, ArgType::Sock, ArgType::Sockaddr] {
            assert!(accepted(ty).iter().all(|operator| family(*operator).is_some()));
        }
    }
}
