//! One index: what it is made of, how far it is built, and the entries that a document has in it.
//!
//! An entry is the keys of one value per field, one behind the other, each inverted where the field
//! descends. A list makes one entry for each of its elements, along the path as well as at its end.

use crate::codec::{Reader, Writer};
use crate::command::{DecodeError, read_index, write_index};
use crate::failure::{bad_request, show, too_large};
use crate::form;
use crate::keys;
use api::path::{Path, element_number};
use api::value::ID_FIELD;
use api::{Document, Error, ErrorCode, IndexKey, IndexSpec, Value};
use query::Filter;
use std::collections::BTreeSet;

/// Longest entry of an index, in encoded bytes, without the `_id`.
pub const INDEX_KEY_BYTES_MAX: usize = 8192;
/// Most bytes that the entries of one document take in one index.
pub const INDEX_ENTRIES_BYTES_MAX: usize = 32 << 20;

static NULL: Value = Value::Null;
static UNDEFINED: Value = Value::Undefined;

/// How far an index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IndexState {
    /// Every document has its entries.
    Ready,
    /// The documents up to the position have theirs, and no others have any.
    Building(Position),
    /// It could not be built, for this reason. It has no entries and is of no use but to be dropped.
    Failed(Error),
}

/// How far a build is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The `_id` key of the last document that was looked at; empty: none.
    pub(crate) id_key: Vec<u8>,
    /// Documents looked at so far.
    pub(crate) documents: u64,
}

impl Position {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.documents);
        writer.0.extend_from_slice(&self.id_key);
        writer.0
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Position, DecodeError> {
        let mut reader = Reader::new(row);
        let documents = reader.number("a number of documents")?;
        Ok(Position { id_key: reader.rest().to_vec(), documents })
    }
}

/// A secondary index.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Names its rows; never used again within the collection.
    pub(crate) number: u16,
    pub(crate) spec: IndexSpec,
    /// Whether it came with a field of the schema, and goes with it.
    pub(crate) declared: bool,
    /// For each field, whether some document ever had a list on the way to its value or as its value, so
    /// that one document may have several entries.
    pub(crate) multikey: Vec<bool>,
    pub(crate) state: IndexState,
    paths: Vec<Path>,
    filter: Option<Filter>,
}

/// What was parsed follows from the rest.
impl PartialEq for Index {
    fn eq(&self, other: &Index) -> bool {
        self.number == other.number
            && self.spec == other.spec
            && self.declared == other.declared
            && self.multikey == other.multikey
            && self.state == other.state
    }
}

impl Eq for Index {}

/// One entry of a document.
#[derive(Debug)]
pub(crate) struct Entry<'d> {
    /// The keys of the values, one behind the other.
    pub(crate) key: Vec<u8>,
    /// The values, one per field.
    pub(crate) values: Vec<&'d Value>,
}

/// The entries of a document, each once.
#[derive(Debug, Default)]
pub(crate) struct Entries<'d> {
    pub(crate) entries: Vec<Entry<'d>>,
    /// The fields in which the document has a list.
    pub(crate) lists: BTreeSet<usize>,
    /// What the keys of each of them lose.
    pub(crate) form: Vec<u8>,
}

impl Index {
    /// An index that is ready; its entries are those of an empty collection.
    ///
    /// # Errors
    /// What is wrong with its paths or its filter.
    pub(crate) fn new(number: u16, spec: IndexSpec, declared: bool) -> Result<Index, Error> {
        let paths = spec.keys.iter().map(|key| Path::parse(&key.path));
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        let filter = spec.filter.as_ref().map(Filter::parse).transpose()?;
        let multikey = vec![false; spec.keys.len()];
        Ok(Index { number, spec, declared, multikey, state: IndexState::Ready, paths, filter })
    }

    /// The index that a field of a schema declares.
    pub(crate) fn declared_spec(field: &str, unique: bool) -> IndexSpec {
        let keys = vec![IndexKey { path: field.to_owned(), descending: false }];
        let name = IndexSpec::default_name(&keys);
        IndexSpec { name, keys, unique, sparse: false, filter: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(crate) fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The documents it is about; none: all.
    pub(crate) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// Whether there are entries that count: what is left of a build that failed does not.
    pub(crate) fn has_rows(&self) -> bool {
        !matches!(self.state, IndexState::Failed(_))
    }

    /// Whether a document with this `_id` key has its entries: it need not in an index that is built and
    /// has not come to it.
    pub(crate) fn keeps(&self, id_key: &[u8]) -> bool {
        match &self.state {
            IndexState::Ready => true,
            #[cfg(feature = "planted-bugs")]
            IndexState::Building(_) if crate::planted(crate::PlantedBug::BuildForgetsWrites) => {
                false
            }
            IndexState::Building(position) => *id_key <= position.id_key[..],
            IndexState::Failed(_) => false,
        }
    }

    /// The direction in which documents with the same entry stand: that of the first field, so that
    /// reading the index either way gives the order in which a sort leaves documents of equal rank.
    pub(crate) fn is_id_descending(&self) -> bool {
        self.spec.keys.first().is_some_and(|key| key.descending)
    }

    /// The entries of a document: none, if the index is not about it.
    ///
    /// # Errors
    /// If it has two lists side by side, or an entry is too long.
    pub(crate) fn entries<'d>(
        &self,
        collection: &str,
        document: &'d Document,
    ) -> Result<Entries<'d>, Error> {
        let mut entries = Entries::default();
        if !self.is_about(document) {
            return Ok(entries);
        }
        let spots: Vec<Spot<'d, '_>> =
            self.paths.iter().map(|path| descend(document, path.parts())).collect();
        let mut expansion =
            Expansion { index: self, seen: BTreeSet::new(), bytes: 0, entries: &mut entries };
        expansion.expand(&spots).map_err(|refusal| self.refusal(collection, document, refusal))?;
        entries.form = match entries.lists.is_empty() {
            true => form::form(self, document),
            false => form::form_of_lists(),
        };
        Ok(entries)
    }

    /// Whether the document has entries at all.
    fn is_about(&self, document: &Document) -> bool {
        let has = |path: &Path| path.visit(document, &mut |value| value.is_some());
        (!self.spec.sparse || self.paths.iter().any(has))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(document))
    }

    /// Whether only one document may have this entry. One without any of the fields may have company.
    pub(crate) fn is_exclusive(&self, entry: &Entry<'_>) -> bool {
        self.spec.unique && entry.values.iter().any(|value| !matches!(value, Value::Null))
    }

    /// The row of an entry. An exclusive one names its one document in the row's value; others have its
    /// `_id` in the key.
    pub(crate) fn row(&self, collection: u32, entry: &Entry<'_>, id_key: &[u8]) -> Vec<u8> {
        let mut row = Vec::with_capacity(keys::INDEX_PREFIX_BYTES + entry.key.len() + id_key.len());
        keys::append_index(&mut row, collection, self.number);
        row.extend_from_slice(&entry.key);
        if !self.is_exclusive(entry) {
            let start = row.len();
            row.extend_from_slice(id_key);
            if self.is_id_descending() {
                keys::invert(&mut row[start..]);
            }
        }
        row
    }

    /// The value of the row of an entry: which document it is of, if the key does not tell, and its form.
    pub(crate) fn row_value(&self, entry: &Entry<'_>, id_key: &[u8], form: &[u8]) -> Vec<u8> {
        let id_key = if self.is_exclusive(entry) { id_key } else { &[] };
        [id_key, form].concat()
    }

    /// Where the keys of the fields end in what is behind an index's prefix in a row; `None` if it is no
    /// entry.
    pub(crate) fn ends(&self, entry: &[u8]) -> Option<Vec<usize>> {
        let mut ends = Vec::with_capacity(self.spec.keys.len());
        let mut end = 0;
        for key in &self.spec.keys {
            end += keys::length_directed(&entry[end..], key.descending)?;
            ends.push(end);
        }
        Some(ends)
    }

    /// A duplicate, as MongoDB says it and programs read it.
    pub(crate) fn duplicate(&self, collection: &str, entry: &Entry<'_>) -> Error {
        let part = |(key, value): (&IndexKey, &&Value)| format!("{}: {}", key.path, show(value));
        let parts: Vec<String> = self.spec.keys.iter().zip(&entry.values).map(part).collect();
        duplicate(collection, &self.spec.name, &parts.join(", "))
    }

    fn refusal(&self, collection: &str, document: &Document, refusal: Refusal) -> Error {
        let id = show(document.get(ID_FIELD).unwrap_or(&NULL));
        let place = format!("collection {collection}: document {id}: index {}", self.spec.name);
        match refusal {
            Refusal::Parallel(one, other) => bad_request(format!(
                "{place}: cannot index parallel arrays [{}] [{}]; one index takes one list of a \
                 document",
                self.paths[one], self.paths[other]
            )),
            Refusal::LongEntry { bytes, value, field } => too_large(format!(
                "{place}: field {}: the value {value} makes an entry of {bytes} bytes; the most is \
                 {INDEX_KEY_BYTES_MAX}",
                self.paths[field]
            )),
            Refusal::ManyEntries => too_large(format!(
                "{place}: its entries take more than {INDEX_ENTRIES_BYTES_MAX} bytes"
            )),
        }
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.number(u64::from(self.number));
        write_index(writer, &self.spec);
        writer.byte(u8::from(self.declared));
        for multikey in &self.multikey {
            writer.byte(u8::from(*multikey));
        }
        match &self.state {
            IndexState::Ready => writer.byte(0),
            IndexState::Building(_) => writer.byte(1),
            IndexState::Failed(reason) => {
                writer.byte(2);
                writer.string(reason.code.as_str());
                writer.string(&reason.message);
            }
        }
    }

    /// An index from its bytes; the position of one that is built stands in a row of its own.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Index, DecodeError> {
        let number = u16::try_from(reader.number("an index number")?);
        let number = number.map_err(|_| reader.error("an index number"))?;
        let spec = read_index(reader)?;
        let declared = reader.flag("whether the index is declared")?;
        let index = Index::new(number, spec, declared);
        let mut index = index.map_err(|_| reader.error("a valid index"))?;
        for multikey in &mut index.multikey {
            *multikey = reader.flag("whether the field has lists")?;
        }
        index.state = match reader.byte("the state of the index")? {
            0 => IndexState::Ready,
            1 => IndexState::Building(Position::default()),
            2 => {
                let code = reader.string("an error code")?;
                let code = ErrorCode::parse(&code);
                let code = code.ok_or_else(|| reader.error("a known error code"))?;
                IndexState::Failed(Error::new(code, reader.string("why the build failed")?))
            }
            _ => return Err(reader.error("a known state of the index")),
        };
        Ok(index)
    }
}

/// A duplicate; `key` names fields and values.
pub(crate) fn duplicate(collection: &str, index: &str, key: &str) -> Error {
    Error::new(
        ErrorCode::Duplicate,
        format!(
            "E11000 duplicate key error collection: {collection} index: {index} dup key: {{ {key} }}"
        ),
    )
}

/// Checks what can be said of an index without a collection.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(spec: &IndexSpec) -> Result<(), Error> {
    for (position, key) in spec.keys.iter().enumerate() {
        let path = Path::parse(&key.path)?;
        let refuse =
            |problem: &str| bad_request(format!("create_index: field {:?} {problem}", key.path));
        if path.parts().iter().any(|part| part.starts_with('$') || part.contains('\0')) {
            return Err(refuse("has a part with a zero byte, or with $ at its start"));
        }
        if path.parts()[1..].iter().any(|part| element_number(part).is_some()) {
            return Err(refuse(
                "names an element of a list by its number; an index is on all elements",
            ));
        }
        if spec.keys[..position].iter().any(|other| other.path == key.path) {
            return Err(refuse("stands twice"));
        }
    }
    match &spec.keys[..] {
        [] => return Err(bad_request("create_index: there is no field; write {\"field\":1}")),
        [only] if only.path == ID_FIELD => {
            return Err(bad_request("create_index: _id is always indexed; leave it out"));
        }
        _ => {}
    }
    if spec.name == "_id_" {
        return Err(bad_request("create_index: the name _id_ is that of the index on _id"));
    }
    if let Some(filter) = &spec.filter {
        if spec.sparse {
            return Err(bad_request(
                "create_index: where and sparse do not go together; write {\"$exists\":true} in where",
            ));
        }
        crate::implied::check_where(&Filter::parse(filter)?)?;
    }
    Ok(())
}

/// Why a document has no entries.
enum Refusal {
    /// The fields at these positions have lists side by side.
    Parallel(usize, usize),
    LongEntry {
        bytes: usize,
        value: String,
        field: usize,
    },
    ManyEntries,
}

/// Where the way of a path has come to.
#[derive(Clone, Copy)]
enum Spot<'d, 'p> {
    /// At its end.
    Value(&'d Value),
    /// At a list (an array, never anything else), with this part of the way left.
    List(&'d Value, &'p [String]),
}

/// Goes along a path through documents, up to its end or the first list. Nothing there is null.
fn descend<'d, 'p>(document: &'d Document, parts: &'p [String]) -> Spot<'d, 'p> {
    let mut document = document;
    let mut parts = parts;
    while let Some((first, rest)) = parts.split_first() {
        match document.get(first) {
            None => return Spot::Value(&NULL),
            Some(list @ Value::Array(_)) => return Spot::List(list, rest),
            Some(value) if rest.is_empty() => return Spot::Value(value),
            Some(Value::Document(inner)) => document = inner,
            Some(_) => return Spot::Value(&NULL),
        }
        parts = rest;
    }
    Spot::Value(&NULL)
}

/// The way on from an element of a list. A list directly in a list is a value at the end of a path, and
/// not gone into before.
fn descend_element<'d, 'p>(element: &'d Value, parts: &'p [String]) -> Spot<'d, 'p> {
    match element {
        _ if parts.is_empty() => Spot::Value(element),
        Value::Document(document) => descend(document, parts),
        _ => Spot::Value(&NULL),
    }
}

struct Expansion<'e, 'd> {
    index: &'e Index,
    seen: BTreeSet<Vec<u8>>,
    bytes: usize,
    entries: &'e mut Entries<'d>,
}

impl<'d> Expansion<'_, 'd> {
    /// Each level goes through one list, so it is no deeper than the paths are long.
    fn expand(&mut self, spots: &[Spot<'d, '_>]) -> Result<(), Refusal> {
        let mut list: Option<(usize, &'d Value)> = None;
        for (field, spot) in spots.iter().enumerate() {
            let Spot::List(found, _) = spot else { continue };
            self.entries.lists.insert(field);
            match list {
                Some((other, known)) if !std::ptr::eq(known, *found) => {
                    return Err(Refusal::Parallel(other, field));
                }
                Some(_) => {}
                None => list = Some((field, found)),
            }
        }
        let Some((_, Value::Array(elements))) = list else { return self.push(spots) };
        if elements.is_empty() {
            let empty = |spot: &Spot<'d, '_>| match spot {
                Spot::List(_, []) => &UNDEFINED,
                Spot::List(..) => &NULL,
                Spot::Value(value) => *value,
            };
            let spots: Vec<_> = spots.iter().map(|spot| Spot::Value(empty(spot))).collect();
            return self.push(&spots);
        }
        for element in elements {
            let next = spots.iter().map(|spot| match *spot {
                Spot::List(_, rest) => descend_element(element, rest),
                value => value,
            });
            let spots: Vec<_> = next.collect();
            self.expand(&spots)?;
        }
        Ok(())
    }

    fn push(&mut self, spots: &[Spot<'d, '_>]) -> Result<(), Refusal> {
        let mut key = Vec::with_capacity(48 * spots.len());
        let mut values = Vec::with_capacity(spots.len());
        for (field, spot) in spots.iter().enumerate() {
            let (Spot::Value(value) | Spot::List(value, _)) = *spot;
            keys::append_directed(&mut key, value, self.index.spec.keys[field].descending);
            if key.len() > INDEX_KEY_BYTES_MAX {
                return Err(Refusal::LongEntry { bytes: key.len(), value: show(value), field });
            }
            values.push(value);
        }
        if !self.entries.lists.is_empty() {
            if !self.seen.insert(key.clone()) {
                return Ok(());
            }
            self.bytes += key.len();
            if self.bytes > INDEX_ENTRIES_BYTES_MAX {
                return Err(Refusal::ManyEntries);
            }
        }
        self.entries.entries.push(Entry { key, values });
        Ok(())
    }
}
