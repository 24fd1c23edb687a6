//! In: the fixed programs, loaded. Out: descriptors of their maps and of the program that changes process bits, for
//! the loader.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::BaseObjects;
use super::sets::SetObjects;
use crate::base::{Base, BaseError, BaseMap};
use crate::kernel::{Errno, Linux, LinuxMap};

/// The fixed programs did not hand out what the loader needs.
#[derive(Debug, thiserror::Error)]
pub enum FromBaseError {
    /// A map.
    #[error(
        "sharing the map {map:?} of the fixed programs failed with {errno}; are there too many open files?"
    )]
    Map {
        /// Which.
        map: BaseMap,
        /// How.
        errno: Errno,
    },
    /// The program that changes process bits.
    #[error(transparent)]
    Program(#[from] BaseError),
    /// Its descriptor.
    #[error("sharing the program that changes process bits failed with {0}; are there too many open files?")]
    Descriptor(Errno),
}

impl BaseObjects<Linux> {
    /// Descriptors of their own: the loader outlives `base` if need be, and the other way round.
    pub fn of(base: &Base, linux: &Linux) -> Result<Self, FromBaseError> {
        let map = |map| adopt(linux, base.map(map)).map_err(|errno| FromBaseError::Map { map, errno });
        Ok(BaseObjects {
            possible_cpus: linux.possible_cpus(),
            events: map(BaseMap::Events)?,
            processes: map(BaseMap::Processes)?,
            sets: SetObjects {
                prefix: map(BaseMap::BinaryExactPrefix)?,
                postfix: map(BaseMap::BinaryPostfix)?,
                pids: map(BaseMap::PidSets)?,
                cgroups: map(BaseMap::CgroupSets)?,
                config: map(BaseMap::Config)?,
                processes: map(BaseMap::Processes)?,
                set_bits: share_setter(base)?,
            },
        })
    }
}

fn adopt(linux: &Linux, fd: BorrowedFd<'_>) -> Result<LinuxMap, Errno> {
    linux.adopt_map(fd.try_clone_to_owned()?)
}

fn share_setter(base: &Base) -> Result<OwnedFd, FromBaseError> {
    base.bit_setter()?.try_clone_to_owned().map_err(|error| FromBaseError::Descriptor(error.into()))
}
