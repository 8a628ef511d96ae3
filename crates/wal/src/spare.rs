//! Spare segments: files written with zeros (or left by a cut) ahead of their use.
//!
//! Writing zeros to 64 MiB takes a good part of a second, and the writer must not wait for it. So the
//! driver asks [`crate::Log::spare_wanted`] after a flush; if it gets a [`SparePlan`] it lets another
//! thread [`SparePlan::execute`] it and hands the [`Spare`] to [`crate::Log::adopt_spare`]. Who does
//! not care calls [`crate::Log::prepare_next`], and who does nothing has it done inside `flush`.

use std::io;
use std::sync::Arc;

use crate::error::io_error;
use crate::segment::{making_name, spare_name};
use crate::{Disk, DiskFile, Error};

/// Zeros are written in pieces of this length.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// After this many bytes of zeros they are synced, so that the log's own sync never waits behind all of them.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// The making of one spare segment, which may be done on another thread while the log goes on.
pub struct SparePlan<D: Disk> {
    pub(crate) disk: Arc<D>,
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

/// A segment file ready for use.
pub struct Spare<D: Disk> {
    pub(crate) name: String,
    pub(crate) file: Arc<D::File>,
    pub(crate) bytes: u64,
}

impl<D: Disk> SparePlan<D> {
    /// Makes the file, writes it with zeros and makes it durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]; the half-made file is removed (at the latest when the log is opened again).
    pub fn execute(self) -> Result<Spare<D>, Error> {
        let making = making_name(self.number);
        let made = self.make(&making);
        if made.is_err() {
            // The first failure is what matters; what cannot be removed now is removed at the next opening.
            let _ = self.disk.remove(&making);
        }
        made
    }

    fn make(&self, making: &str) -> Result<Spare<D>, Error> {
        let failed = |operation: &'static str| {
            let (name, bytes) = (making.to_owned(), self.bytes);
            move |source: io::Error| match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Error::NoSpace { name, bytes, source }
                }
                _ => Error::Io { operation, name, source },
            }
        };
        let file = self.disk.create(making).map_err(failed("create"))?;
        let mut written = 0;
        while written < self.bytes {
            let count = ZEROS.len().min((self.bytes - written) as usize);
            file.write_at(written, &ZEROS[..count]).map_err(failed("write zeros to"))?;
            written += count as u64;
            if written.is_multiple_of(SYNC_EVERY_BYTES) || written == self.bytes {
                file.sync_data().map_err(failed("sync"))?;
            }
        }
        let name = spare_name(self.number);
        self.disk.rename(making, &name).map_err(io_error("rename", making))?;
        self.disk.sync_folder().map_err(io_error("sync", "the folder"))?;
        Ok(Spare { name, file: Arc::new(file), bytes: self.bytes })
    }
}
