//! Changes to the documents that a filter means: update, replace, modify, delete, and the upsert of
//! the first three.

use crate::apply::Applying;
use crate::catalog::Collection;
use crate::engine::View;
use crate::failure::{Outcome, bad_query, bad_request, show};
use crate::scan::Found;
use crate::search::Search;
use crate::validate;
use api::value::ID_FIELD;
use api::{
    Document, Error, ModifyAction, ModifyOptions, SearchOptions, UpdateOptions, Upsert, Value,
};
use bson::doc;
use query::{Circumstances, Filter, Projection, Update, upsert_document};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Changes one document.
type Change<'c> = &'c mut dyn FnMut(&mut Document) -> Result<(), Error>;

impl<V: View> Applying<'_, V> {
    pub(crate) fn update(
        &mut self,
        name: &str,
        filter: &Document,
        changes: &Document,
        options: &UpdateOptions,
    ) -> Outcome<Value> {
        let collection = Arc::clone(self.state.catalog.get(name)?);
        let update = Update::parse(changes, &options.array_filters)?;
        let search = all_or_first(options.multi);
        let search = Search::parse(filter, &search)?;
        let parsed = search.filter();
        let found = search.find_for_write(self.overlay, &collection)?;
        let time_ms = self.time_ms;
        let matched = found.len() as i64;
        if let (true, Upsert::Insert { new_id }) = (found.is_empty(), &options.upsert) {
            let start = upsert_document(parsed)?;
            let inserted =
                self.insert_new(&collection, start, new_id.as_ref(), &mut |document| {
                    update.apply(document, &inserting(time_ms))
                })?;
            return Ok(upserted(inserted.get(ID_FIELD)));
        }
        let mut change = |document: &mut Document| {
            let circumstances = circumstances(&update, parsed, document, time_ms)?;
            update.apply(document, &circumstances)
        };
        let changed = self.change(&collection, found, &mut change)?;
        Ok(answer(&options.upsert, matched, changed))
    }

    pub(crate) fn replace(
        &mut self,
        name: &str,
        filter: &Document,
        document: &Document,
        upsert: &Upsert,
    ) -> Outcome<Value> {
        let collection = Arc::clone(self.state.catalog.get(name)?);
        validate::check_replacement(document)?;
        let search = all_or_first(false);
        let search = Search::parse(filter, &search)?;
        let found = search.find_for_write(self.overlay, &collection)?;
        let matched = found.len() as i64;
        if let (true, Upsert::Insert { new_id }) = (found.is_empty(), upsert) {
            let mut start = Document::new();
            if let Some(id) = upsert_document(search.filter())?.remove(ID_FIELD) {
                start.insert(ID_FIELD, id);
            }
            let inserted = self.insert_new(&collection, start, new_id.as_ref(), &mut |new| {
                replace_fields(new, document)
            })?;
            return Ok(upserted(inserted.get(ID_FIELD)));
        }
        let changed = self.change(&collection, found, &mut |old| replace_fields(old, document))?;
        Ok(answer(upsert, matched, changed))
    }

    pub(crate) fn modify(
        &mut self,
        name: &str,
        filter: &Document,
        action: &ModifyAction,
        options: &ModifyOptions,
    ) -> Outcome<Value> {
        let collection = Arc::clone(self.state.catalog.get(name)?);
        let parsed = Filter::parse(filter)?;
        let projection = Projection::parse(options.fields.as_ref())?;
        let search = SearchOptions { sort: options.sort.clone(), ..all_or_first(false) };
        let search = Search::parse(filter, &search)?;
        let found = search.find_for_write(self.overlay, &collection)?;
        let before = found.first().map(|found| found.document.clone());
        let document = match action {
            ModifyAction::Remove => {
                self.remove(&collection, &found)?;
                before
            }
            ModifyAction::Update { changes, upsert, after, array_filters } => {
                let update = Update::parse(changes, array_filters)?;
                let now = self.modify_found(&collection, found, &parsed, &update, upsert)?;
                if *after { now } else { before }
            }
        };
        match document {
            None => Ok(Value::Null),
            Some(document) => Ok(Value::Document(projection.apply(document, &parsed)?)),
        }
    }

    /// Answers the document as it is afterwards, if there is one.
    fn modify_found(
        &mut self,
        collection: &Collection,
        found: Vec<Found>,
        filter: &Filter,
        update: &Update,
        upsert: &Upsert,
    ) -> Outcome<Option<Document>> {
        let time_ms = self.time_ms;
        if found.is_empty() {
            let Upsert::Insert { new_id } = upsert else { return Ok(None) };
            let start = upsert_document(filter)?;
            let inserted =
                self.insert_new(collection, start, new_id.as_ref(), &mut |document| {
                    update.apply(document, &inserting(time_ms))
                })?;
            return Ok(Some(inserted));
        }
        let mut after = None;
        self.change(collection, found, &mut |document| {
            let circumstances = circumstances(update, filter, document, time_ms)?;
            update.apply(document, &circumstances)?;
            after = Some(document.clone());
            Ok(())
        })?;
        Ok(after)
    }

    pub(crate) fn delete(&mut self, name: &str, filter: &Document, multi: bool) -> Outcome<Value> {
        let collection = Arc::clone(self.state.catalog.get(name)?);
        let search = all_or_first(multi);
        let found = Search::parse(filter, &search)?.find_for_write(self.overlay, &collection)?;
        self.remove(&collection, &found)?;
        Ok(Value::Int64(found.len() as i64))
    }

    fn remove(&mut self, collection: &Collection, found: &[Found]) -> Outcome<()> {
        let mut writing = self.writing(collection);
        for found in found {
            writing.delete(found)?;
        }
        self.finish(collection, &BTreeSet::new(), -(found.len() as i64));
        Ok(())
    }

    fn change(
        &mut self,
        collection: &Collection,
        found: Vec<Found>,
        change: Change<'_>,
    ) -> Outcome<i64> {
        let mut writing = self.writing(collection);
        let changed = writing.update(found, change)?;
        let multikey = writing.multikey;
        self.finish(collection, &multikey, 0);
        Ok(changed)
    }

    /// Inserts what an upsert makes, and answers it.
    fn insert_new(
        &mut self,
        collection: &Collection,
        mut document: Document,
        new_id: Option<&Value>,
        change: Change<'_>,
    ) -> Outcome<Document> {
        change(&mut document)?;
        let id = match document.remove(ID_FIELD) {
            Some(id) => id,
            None => new_id.cloned().ok_or_else(|| {
                bad_request(
                    "upsert: no _id was drawn for the new document; send it to a node again",
                )
            })?,
        };
        let mut ordered = Document::new();
        ordered.insert(ID_FIELD, id);
        ordered.extend(document);
        validate::check_document("upsert: the new document", &ordered)?;
        let mut writing = self.writing(collection);
        writing.insert(&ordered)?;
        let multikey = writing.multikey;
        self.finish(collection, &multikey, 1);
        Ok(ordered)
    }
}

fn all_or_first(all: bool) -> SearchOptions {
    SearchOptions { limit: if all { None } else { Some(1) }, ..SearchOptions::default() }
}

fn inserting(time_ms: u64) -> Circumstances {
    Circumstances { time_ms, position: None, inserting: true }
}

fn circumstances(
    update: &Update,
    filter: &Filter,
    document: &Document,
    time_ms: u64,
) -> Result<Circumstances, Error> {
    let position = if update.needs_position() { filter.check_position(document)?.1 } else { None };
    Ok(Circumstances { time_ms, position, inserting: false })
}

/// All fields but `_id` are new ones.
fn replace_fields(document: &mut Document, new: &Document) -> Result<(), Error> {
    let id = document.get(ID_FIELD).or(new.get(ID_FIELD)).cloned();
    if let (Some(id), Some(new)) = (&id, new.get(ID_FIELD))
        && !api::order::equal(id, new)
    {
        return Err(bad_query(format!(
            "replace: the _id {} cannot become {}: _id is immutable; leave it out",
            show(id),
            show(new)
        )));
    }
    *document = Document::new();
    document.extend(id.map(|id| (ID_FIELD.to_owned(), id)));
    let rest = new.iter().filter(|(name, _)| *name != ID_FIELD);
    document.extend(rest.map(|(name, value)| (name.clone(), value.clone())));
    Ok(())
}

fn answer(upsert: &Upsert, matched: i64, changed: i64) -> Value {
    match upsert {
        Upsert::No => Value::Int64(changed),
        Upsert::Insert { .. } => {
            Value::from(doc! { "matched": matched, "changed": changed, "upserted": null })
        }
    }
}

fn upserted(id: Option<&Value>) -> Value {
    let id = id.cloned().unwrap_or(Value::Null);
    Value::from(doc! { "matched": 0i64, "changed": 0i64, "upserted": id })
}
