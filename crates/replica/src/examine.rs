//! Reading the log of a node that is not running, without changing it.

use crate::journal::{Index, JournalError, Recovered};
use paxos::{Membership, Record, Slot};
use wal::{Disk, Options, Position, Recovery};

/// What the log of a node that is not running holds.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What its records say.
    pub recovered: Recovered,
    /// What its bytes say.
    pub recovery: Recovery,
    /// The membership that governs after the last decided slot, and its slot.
    pub membership: (Slot, Membership),
    /// The last membership in the log, decided or not, and its slot.
    pub last_membership: (Slot, Membership),
}

/// Reads a whole log as a start would, and changes nothing. `each` sees every record in its order, and may refuse it.
///
/// # Errors
/// As [`crate::Journal::open`], without a log [`wal::Error::Missing`].
pub fn examine<D: Disk>(
    disk: &D,
    options: &Options,
    mut each: impl FnMut(Position, Record) -> Result<(), String>,
) -> Result<Examined, JournalError> {
    let mut index = Index::default();
    let recovery = wal::examine(disk, options, |position, bytes| {
        let record = index.add(position, bytes)?;
        each(position, record)
    })?;
    index.finish()?;
    let (promised, decided, floor, last) =
        (index.promised, index.decided, index.floor, index.last());
    Ok(Examined {
        recovered: Recovered { promised, decided, last, floor },
        recovery,
        membership: index.membership_at(decided),
        last_membership: index.membership_at(last),
    })
}
