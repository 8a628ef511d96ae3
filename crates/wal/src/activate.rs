//! The two name changes of a segment's life: a spare becomes a segment, a cut segment becomes a spare.

use std::sync::Arc;

use crate::error::io_error;
use crate::segment::{Segment, SegmentHeader, segment_name, spare_name};
use crate::spare::Spare;
use crate::{Disk, DiskFile, Error, Options, PlantedBug};

/// Makes a spare the segment that `header` describes. When this returns, header and name are durable.
///
/// No frame of the new identity may be written before (invariant 2 of the crate's documentation): a spare
/// whose new name is lost in a crash must hold no frame that could pass when the same number is used again.
pub(crate) fn activate<D: Disk>(
    disk: &D,
    spare: Spare<D>,
    header: &SegmentHeader,
    options: &Options,
) -> Result<Segment<D::File>, Error> {
    assert_eq!(spare.bytes, header.segment_bytes, "a spare of the wrong length was chosen");
    spare
        .file
        .write_at(0, &header.encode())
        .map_err(io_error("write the header of", &spare.name))?;
    spare.file.sync_data().map_err(io_error("sync", &spare.name))?;
    disk.rename(&spare.name, &segment_name(header.sequence))
        .map_err(io_error("rename", &spare.name))?;
    sync_folder(disk, options)?;
    Ok(Segment {
        file: spare.file,
        segment_bytes: header.segment_bytes,
        durable_end: crate::segment::SEGMENT_HEADER_BYTES as u32,
    })
}

/// Takes segment `sequence` out of the log: it becomes spare number `spare_number`, or is removed if there is no number.
/// When this returns the change is durable, so that segments disappear in order and never leave a gap.
pub(crate) fn retire<D: Disk>(
    disk: &D,
    sequence: u32,
    segment: &Segment<D::File>,
    spare_number: Option<u64>,
    options: &Options,
) -> Result<Option<Spare<D>>, Error> {
    let old_name = segment_name(sequence);
    let Some(number) = spare_number else {
        disk.remove(&old_name).map_err(io_error("remove", &old_name))?;
        sync_folder(disk, options)?;
        return Ok(None);
    };
    let name = spare_name(number);
    disk.rename(&old_name, &name).map_err(io_error("rename", &old_name))?;
    sync_folder(disk, options)?;
    Ok(Some(Spare { name, file: Arc::clone(&segment.file), bytes: segment.segment_bytes }))
}

pub(crate) fn sync_folder<D: Disk>(disk: &D, options: &Options) -> Result<(), Error> {
    if options.plants(PlantedBug::SkipFolderSync) {
        return Ok(());
    }
    disk.sync_folder().map_err(io_error("sync", "the folder"))
}
