//! The bytes of what update, replace and modify carry besides filter and changes.

use super::DecodeError;
use crate::codec::{Reader, Writer};
use api::{Document, ModifyAction, ModifyOptions, UpdateOptions, Upsert};

/// Nothing is inserted; a document may be, and its `_id` follows; it may be, and has none.
const UPSERT_NO: u8 = 0;
const UPSERT_WITH_ID: u8 = 1;
const UPSERT_WITHOUT_ID: u8 = 2;

const ACTION_REMOVE: u8 = 0;
const ACTION_UPDATE: u8 = 1;

const BACKWARD: u8 = 1;

pub(super) fn write_upsert(writer: &mut Writer, upsert: &Upsert) {
    match upsert {
        Upsert::No => writer.byte(UPSERT_NO),
        Upsert::Insert { new_id: Some(id) } => {
            writer.byte(UPSERT_WITH_ID);
            writer.value(id);
        }
        Upsert::Insert { new_id: None } => writer.byte(UPSERT_WITHOUT_ID),
    }
}

pub(super) fn read_upsert(reader: &mut Reader<'_>) -> Result<Upsert, DecodeError> {
    Ok(match reader.byte("whether a document may be inserted")? {
        UPSERT_NO => Upsert::No,
        UPSERT_WITH_ID => Upsert::Insert { new_id: Some(reader.value("a new _id")?) },
        UPSERT_WITHOUT_ID => Upsert::Insert { new_id: None },
        _ => return Err(reader.error("whether a document may be inserted: 0, 1 or 2")),
    })
}

fn write_filters(writer: &mut Writer, filters: &[Document]) {
    writer.number(filters.len() as u64);
    for filter in filters {
        writer.document(filter);
    }
}

fn read_filters(reader: &mut Reader<'_>) -> Result<Vec<Document>, DecodeError> {
    let count = reader.count("a number of array filters")?;
    (0..count).map(|_| reader.document("an array filter")).collect()
}

pub(super) fn write_update_options(writer: &mut Writer, options: &UpdateOptions) {
    writer.byte(u8::from(options.multi));
    write_upsert(writer, &options.upsert);
    write_filters(writer, &options.array_filters);
}

pub(super) fn read_update_options(reader: &mut Reader<'_>) -> Result<UpdateOptions, DecodeError> {
    Ok(UpdateOptions {
        multi: reader.flag("whether all are changed")?,
        upsert: read_upsert(reader)?,
        array_filters: read_filters(reader)?,
    })
}

pub(super) fn write_modify(writer: &mut Writer, action: &ModifyAction, options: &ModifyOptions) {
    match action {
        ModifyAction::Remove => writer.byte(ACTION_REMOVE),
        ModifyAction::Update { changes, upsert, after, array_filters } => {
            writer.byte(ACTION_UPDATE);
            writer.document(changes);
            write_upsert(writer, upsert);
            writer.byte(u8::from(*after));
            write_filters(writer, array_filters);
        }
    }
    writer.number(options.sort.len() as u64);
    for (path, direction) in &options.sort {
        writer.string(path);
        writer.byte(if *direction < 0 { BACKWARD } else { 0 });
    }
    writer.byte(u8::from(options.fields.is_some()));
    if let Some(fields) = &options.fields {
        writer.document(fields);
    }
}

pub(super) fn read_modify(
    reader: &mut Reader<'_>,
) -> Result<(ModifyAction, ModifyOptions), DecodeError> {
    let action = match reader.byte("what is done with the document")? {
        ACTION_REMOVE => ModifyAction::Remove,
        ACTION_UPDATE => ModifyAction::Update {
            changes: reader.document("changes")?,
            upsert: read_upsert(reader)?,
            after: reader.flag("whether the document afterwards is answered")?,
            array_filters: read_filters(reader)?,
        },
        _ => return Err(reader.error("what is done with the document: 0 or 1")),
    };
    let count = reader.count("a number of sort keys")?;
    let mut sort = Vec::new();
    for _ in 0..count {
        let path = reader.string("a sort key")?;
        let backward = reader.flag("a direction")?;
        sort.push((path, if backward { -1 } else { 1 }));
    }
    let has_fields = reader.flag("whether fields are named")?;
    let fields = if has_fields { Some(reader.document("fields")?) } else { None };
    Ok((action, ModifyOptions { sort, fields }))
}
