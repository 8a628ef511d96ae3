//! Bytes to documents: one record after the other, with its place, or what is wrong with it.

use super::cells::Columns;
use super::source::Reader;
use api::{Document, json};
use std::cell::Cell;
use std::io::{self, BufRead as _, Read};
use std::rc::Rc;

/// Longest line, in bytes: a document of the largest size, however it is escaped within reason.
pub(crate) const LINE_BYTES_MAX: usize = 32 << 20;
/// How much of a line that is too long is kept.
const LINE_BYTES_SHOWN: usize = 1024;

/// One record of the input.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The line where it begins, from 1.
    pub(crate) line: u64,
    /// Where the next one begins.
    pub(crate) end: Place,
    /// The document, or what is wrong.
    pub(crate) content: Result<Document, String>,
    /// The text, as it is or as it would be written.
    pub(crate) text: String,
}

/// A place in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes before it, decompressed.
    pub(crate) bytes: u64,
    /// Lines before it.
    pub(crate) lines: u64,
}

/// Reads records.
pub(crate) enum Records {
    Lines { reader: Reader, place: Place },
    Rows { rows: Box<csv::Reader<Metered>>, columns: Columns, from: Place, meter: Rc<Cell<usize>> },
}

impl Records {
    /// JSON lines, from `place` on, where `reader` stands.
    pub(crate) fn lines(reader: Reader, place: Place) -> Records {
        Records::Lines { reader, place }
    }

    /// Rows of CSV with these columns, from `place` on, where `reader` stands.
    pub(crate) fn rows(reader: Reader, place: Place, columns: Columns, delimiter: u8) -> Records {
        let (rows, meter) = csv_reader(reader, delimiter);
        Records::Rows { rows: Box::new(rows), columns, from: place, meter }
    }

    /// The next record; none at the end.
    ///
    /// # Errors
    /// If the input cannot be read on.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        match self {
            Records::Lines { reader, place } => next_line(reader, place),
            Records::Rows { rows, columns, from, meter } => next_row(rows, columns, *from, meter),
        }
    }
}

/// The names in the first row of CSV, and where the second one begins.
///
/// # Errors
/// If there is none, or it cannot be read.
pub(crate) fn header(reader: Reader, delimiter: u8) -> io::Result<(Vec<String>, Place)> {
    let (mut rows, _) = csv_reader(reader, delimiter);
    let mut row = csv::StringRecord::new();
    if !rows.read_record(&mut row).map_err(io::Error::other)? {
        return Err(io::Error::other("there is no header: the input is empty"));
    }
    let names = row.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_string());
    let place = Place { bytes: rows.position().byte(), lines: rows.position().line() - 1 };
    Ok((names.collect(), place))
}

fn csv_reader(reader: Reader, delimiter: u8) -> (csv::Reader<Metered>, Rc<Cell<usize>>) {
    let meter = Rc::new(Cell::new(0));
    let metered = Metered { inner: reader, since: Rc::clone(&meter) };
    let rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(metered);
    (rows, meter)
}

/// Refuses to go on when a row does not end: a quote that is never closed would take all memory.
pub(crate) struct Metered {
    inner: Reader,
    /// Bytes read since the last row began.
    since: Rc<Cell<usize>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since.get() > LINE_BYTES_MAX {
            let message = format!(
                "a row is longer than {LINE_BYTES_MAX} bytes; is a quote not closed before it?"
            );
            return Err(io::Error::other(message));
        }
        let count = self.inner.read(buffer)?;
        self.since.set(self.since.get() + count);
        Ok(count)
    }
}

fn next_row(
    rows: &mut csv::Reader<Metered>,
    columns: &Columns,
    from: Place,
    meter: &Cell<usize>,
) -> io::Result<Option<Record>> {
    meter.set(0);
    let mut row = csv::ByteRecord::new();
    let is_row = rows.read_byte_record(&mut row).map_err(io::Error::other)?;
    if !is_row {
        return Ok(None);
    }
    let line = from.lines + row.position().map_or(1, csv::Position::line);
    let position = rows.position();
    let end =
        Place { bytes: from.bytes + position.byte(), lines: from.lines + position.line() - 1 };
    let text = written(&row);
    let content = match csv::StringRecord::from_byte_record(row) {
        Ok(row) => columns.document(row.iter().collect::<Vec<_>>().into_iter()),
        Err(error) => Err(format!("it is no UTF-8: {}", error.utf8_error())),
    };
    Ok(Some(Record { line, end, content, text }))
}

/// A row as it would be written.
fn written(row: &csv::ByteRecord) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to a vector does not fail.
    let _ = writer.write_byte_record(row);
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_string()
}

/// Blank lines are no records.
fn next_line(reader: &mut Reader, place: &mut Place) -> io::Result<Option<Record>> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let count = reader.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes)?;
        if count == 0 {
            return Ok(None);
        }
        let line = place.lines + 1;
        place.bytes += count as u64;
        place.lines += 1;
        if count > LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
            place.bytes += skip_line(reader)?;
            bytes.truncate(LINE_BYTES_SHOWN);
            let text = String::from_utf8_lossy(&bytes).into_owned() + "…";
            let content = Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
            return Ok(Some(Record { line, end: *place, content, text }));
        }
        let mut text = bytes.trim_ascii();
        if line == 1 {
            text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        }
        if text.is_empty() {
            continue;
        }
        let content = json::parse_document(text).map_err(|error| error.message);
        let text = String::from_utf8_lossy(text).into_owned();
        return Ok(Some(Record { line, end: *place, content, text }));
    }
}

/// Passes over the rest of a line; how long it was.
fn skip_line(reader: &mut Reader) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(skipped);
        }
        let (count, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(position) => (position + 1, true),
            None => (buffer.len(), false),
        };
        reader.consume(count);
        skipped += count as u64;
        if is_end {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Schema;

    fn input(text: &[u8]) -> Reader {
        Box::new(io::Cursor::new(text.to_vec()))
    }

    fn all(mut records: Records) -> Vec<(u64, u64, bool)> {
        let mut found = Vec::new();
        while let Some(record) = records.next().expect("readable") {
            found.push((record.line, record.end.bytes, record.content.is_ok()));
        }
        found
    }

    #[test]
    fn lines_have_numbers_and_places() {
        let text = b"\xef\xbb\xbf{\"a\":1}\r\n\n{\"a\":2}\n[]\n{\"a\":\n\xff\n{\"b\":3}";
        let records = Records::lines(input(text), Place::default());
        let found = all(records);
        let expected = [
            (1, 12, true),
            (3, 21, true),
            (4, 24, false),
            (5, 30, false),
            (6, 32, false),
            (7, 39, true),
        ];
        assert_eq!(found, expected);
        // From any of these places on it reads the same.
        let from = Place { bytes: 21, lines: 3 };
        assert_eq!(all(Records::lines(input(&text[21..]), from)), expected[2..]);
    }

    #[test]
    fn rows_have_numbers_and_places_also_with_line_breaks_in_quotes() {
        let text = b"a,b\n1,\"x\ny\"\n2\n3,\xff\n4,z\n";
        let (names, start) = header(input(text), b',').expect("a header");
        assert_eq!(
            (names.as_slice(), start),
            (&["a".into(), "b".into()][..], Place { bytes: 4, lines: 1 })
        );
        let columns = Columns::new(names, Schema::default(), true).expect("columns");
        let rows = |from: Place| {
            let rest = input(&text[from.bytes as usize..]);
            all(Records::rows(rest, from, columns.clone(), b','))
        };
        let expected = [(2, 12, true), (4, 14, false), (5, 18, false), (6, 22, true)];
        assert_eq!(rows(start), expected);
        assert_eq!(rows(Place { bytes: 12, lines: 3 }), expected[1..]);
    }

    #[test]
    fn a_line_without_end_costs_no_memory_and_is_told() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 5];
        text.extend_from_slice(b"\n{}\n");
        let mut records = Records::lines(input(&text), Place::default());
        let long = records.next().expect("readable").expect("a record");
        assert!(long.content.expect_err("too long").contains("longer than"));
        assert!(long.text.len() < 2 * LINE_BYTES_SHOWN);
        let next = records.next().expect("readable").expect("a record");
        assert_eq!((next.line, next.content), (2, Ok(Document::new())));
        let mut text = b"a\n\"".to_vec();
        text.resize(LINE_BYTES_MAX + (8 << 20), b'x');
        let columns = Columns::new(vec!["a".into()], Schema::default(), true).expect("columns");
        let mut rows = Records::rows(input(&text[2..]), Place::default(), columns, b',');
        assert!(rows.next().expect_err("too long").to_string().contains("quote"));
    }
}
