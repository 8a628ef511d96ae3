//! Records to batches, on a thread of its own: reading may block.
//!
//! How the input is cut depends on its bytes, the place where it begins and two numbers that the state keeps, so that
//! an import that goes on after a crash sends the very same batches again.

use super::records::{Place, Record, Records};
use super::rejects::Reject;
use api::Document;
use api::value::ID_FIELD;
use tokio::sync::mpsc;

/// Batches that wait to be sent.
const QUEUE_MAX: usize = 2;

/// How the input is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Most records of a batch.
    pub(crate) records_max: u64,
    /// Bytes of input after which a batch ends.
    pub(crate) bytes_max: u64,
}

/// How far the input was read when a batch was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Where in the input.
    pub(crate) place: Place,
    /// How many records are before it.
    pub(crate) records: u64,
}

/// Records that are sent together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The documents.
    pub(crate) items: Vec<Item>,
    /// Records that are none.
    pub(crate) rejects: Vec<Reject>,
    /// Where the next batch begins.
    pub(crate) end: Reached,
}

/// A document of the input.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Which record of the input it is, from 0.
    pub(crate) record: u64,
    /// The line where it begins.
    pub(crate) line: u64,
    /// With its `_id`.
    pub(crate) document: Document,
    /// As it stands in the input.
    pub(crate) text: String,
}

/// Starts reading; the batches come out of the receiver, then the end or why it cannot be read on.
pub(crate) fn spawn(
    open: impl FnOnce() -> Result<Records, String> + Send + 'static,
    cut: Cut,
    from: Reached,
    import: uuid::Uuid,
) -> mpsc::Receiver<Result<Batch, String>> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    std::thread::spawn(move || {
        let mut records = match open() {
            Ok(records) => records,
            Err(error) => {
                // Whoever gave up does not want to know.
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        let mut at = from;
        loop {
            let batch = match next(&mut records, cut, at, import) {
                Ok(Some(batch)) => batch,
                Ok(None) => return,
                Err(error) => {
                    let line = at.place.lines + 1;
                    let message = format!("the input cannot be read on after line {line}: {error}");
                    let _ = sender.blocking_send(Err(message));
                    return;
                }
            };
            at = batch.end;
            if sender.blocking_send(Ok(batch)).is_err() {
                return;
            }
        }
    });
    receiver
}

fn next(
    records: &mut Records,
    cut: Cut,
    from: Reached,
    import: uuid::Uuid,
) -> std::io::Result<Option<Batch>> {
    let mut batch = Batch { items: Vec::new(), rejects: Vec::new(), end: from };
    while batch.end.records - from.records < cut.records_max
        && batch.end.place.bytes - from.place.bytes < cut.bytes_max
    {
        let Some(Record { line, end, content, text }) = records.next()? else { break };
        let record = batch.end.records;
        match content {
            Ok(document) => {
                let document = with_id(document, import, record);
                batch.items.push(Item { record, line, document, text });
            }
            Err(reason) => batch.rejects.push(Reject { line, reason, text }),
        }
        batch.end = Reached { place: end, records: record + 1 };
    }
    Ok((batch.end != from).then_some(batch))
}

/// A document without an `_id` gets one that is the same whenever the import reads it again.
fn with_id(document: Document, import: uuid::Uuid, record: u64) -> Document {
    if document.contains_key(ID_FIELD) {
        return document;
    }
    let mut bytes = import.into_bytes();
    bytes[10..].copy_from_slice(&record.to_be_bytes()[2..]);
    let id = uuid::Uuid::from_bytes(bytes).to_string();
    let first = std::iter::once((ID_FIELD.to_string(), id.into()));
    first.chain(document).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_alike_from_any_end_of_one() {
        let text: String = (0..50)
            .map(|n| format!("{{\"n\":{n}}}\n{}", if n % 7 == 0 { "?\n" } else { "" }))
            .collect();
        let import = uuid::Uuid::from_u128(7);
        let cut = Cut { records_max: 8, bytes_max: 60 };
        let batches = |from: Reached| {
            let rest = text.as_bytes()[from.place.bytes as usize..].to_vec();
            let mut records = Records::lines(Box::new(std::io::Cursor::new(rest)), from.place);
            let (mut at, mut found) = (from, Vec::new());
            while let Some(batch) = next(&mut records, cut, at, import).expect("readable") {
                at = batch.end;
                found.push(format!("{batch:?}"));
                if found.len() > 100 {
                    break;
                }
            }
            (found, at)
        };
        let (all, end) = batches(Reached::default());
        assert_eq!((end.records, end.place.bytes), (58, text.len() as u64));
        let mut records = Records::lines(
            Box::new(std::io::Cursor::new(text.clone().into_bytes())),
            Place::default(),
        );
        let first =
            next(&mut records, cut, Reached::default(), import).expect("readable").expect("one");
        assert_eq!(batches(first.end).0, all[1..]);
        let ids: std::collections::BTreeSet<String> = first
            .items
            .iter()
            .map(|item| item.document.get_str(ID_FIELD).expect("an _id").into())
            .collect();
        assert_eq!(ids.len(), first.items.len());
    }
}
