//! In: the operators of the policy language. Out: filters, one closed set per kind of filter.

closed_set! {
    /// How a filter on an argument compares.
    ArgOperator {
        /// Equals any value.
        Equal = "Equal",
        /// Equals no value.
        NotEqual = "NotEqual",
        /// Text starts with any value.
        Prefix = "Prefix",
        /// Text starts with no value.
        NotPrefix = "NotPrefix",
        /// Text ends with any value.
        Postfix = "Postfix",
        /// Text ends with no value.
        NotPostfix = "NotPostfix",
        /// Long spelling of `GT`.
        GreaterThan = "GreaterThan",
        /// Long spelling of `LT`.
        LessThan = "LessThan",
        /// Greater than any value.
        Gt = "GT",
        /// Less than any value.
        Lt = "LT",
        /// Has a bit in common with any value.
        Mask = "Mask",
        /// Source port is in any range.
        SPort = "SPort",
        /// Source port is in no range.
        NotSPort = "NotSPort",
        /// Source port is below 1024.
        SPortPriv = "SPortPriv",
        /// Source port is not below 1024; the language's historic spelling.
        NotSportPriv = "NotSportPriv",
        /// Source port is not below 1024.
        NotSPortPriv = "NotSPortPriv",
        /// Destination port is in any range.
        DPort = "DPort",
        /// Destination port is in no range.
        NotDPort = "NotDPort",
        /// Destination port is below 1024.
        DPortPriv = "DPortPriv",
        /// Destination port is not below 1024.
        NotDPortPriv = "NotDPortPriv",
        /// Source address is in any network.
        SAddr = "SAddr",
        /// Source address is in no network.
        NotSAddr = "NotSAddr",
        /// Destination address is in any network.
        DAddr = "DAddr",
        /// Destination address is in no network.
        NotDAddr = "NotDAddr",
        /// Transport protocol.
        Protocol = "Protocol",
        /// Address family.
        Family = "Family",
        /// State of a TCP socket.
        State = "State",
        /// Member of a set of any size.
        InMap = "InMap",
        /// Not a member of a set of any size.
        NotInMap = "NotInMap",
        /// The second capability set has capabilities that the first lacks.
        CapabilitiesGained = "CapabilitiesGained",
        /// Within any range, bounds included.
        InRange = "InRange",
        /// Within no range.
        NotInRange = "NotInRange",
        /// Text contains any value.
        SubString = "SubString",
        /// Text contains any value, letter case ignored.
        SubStringIgnCase = "SubStringIgnCase",
        /// An expression over all arguments.
        CelExpr = "CelExpr",
        /// The file's type is any of these.
        FileType = "FileType",
        /// The file's type is none of these.
        NotFileType = "NotFileType",
    }
}

closed_set! {
    /// Membership in a list.
    SetOperator {
        /// Is one of the values.
        In = "In",
        /// Is none of the values.
        NotIn = "NotIn",
    }
}

closed_set! {
    /// How an executable's path is compared.
    BinaryOperator {
        /// Is one of the paths.
        In = "In",
        /// Is none of the paths.
        NotIn = "NotIn",
        /// Starts with one of the values.
        Prefix = "Prefix",
        /// Starts with none of the values.
        NotPrefix = "NotPrefix",
        /// Ends with one of the values.
        Postfix = "Postfix",
        /// Ends with none of the values.
        NotPostfix = "NotPostfix",
    }
}
