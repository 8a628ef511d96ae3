//! Changes of a collection's schema.

use crate::apply::Applying;
use crate::catalog::Collection;
use crate::engine::{Direction, View};
use crate::failure::{Outcome, bad_request, too_large};
use crate::index::Index;
use crate::keys;
use crate::scan::decode;
use crate::{schema, validate};
use api::{Error, FieldSchema, FieldType, Schema, Value};
use std::sync::Arc;

/// Most documents that a change of the schema checks: it is one step, in which nothing else is applied.
pub const ALTER_DOCUMENTS_MAX: u64 = 100_000;
/// Most bytes of documents that a change of the schema checks.
pub const ALTER_BYTES_MAX: usize = 256 << 20;

impl<V: View> Applying<'_, V> {
    /// Drops fields, then declares others, with their indexes.
    pub(crate) fn alter(
        &mut self,
        name: &str,
        add: &Schema,
        drop: &[String],
        check: bool,
    ) -> Outcome<Value> {
        validate::check_schema(add)?;
        let before = Arc::clone(self.state.catalog.get(name)?);
        if check {
            self.check_documents(&before, add)?;
        }
        let mut collection = (*before).clone();
        let dropped = self.state.dropped.clone();
        let changed = self.change_fields(&mut collection, add, drop);
        if changed.is_err() {
            self.state.dropped = dropped;
        }
        changed?;
        self.set_collection(collection);
        Ok(Value::Null)
    }

    fn change_fields(
        &mut self,
        collection: &mut Collection,
        add: &Schema,
        drop: &[String],
    ) -> Outcome<()> {
        drop.iter().try_for_each(|field| self.drop_field(collection, field))?;
        add.fields.iter().try_for_each(|field| self.declare_field(collection, field))
    }

    fn drop_field(&mut self, collection: &mut Collection, name: &str) -> Outcome<()> {
        let fields = &mut collection.schema.fields;
        let Some(position) = fields.iter().position(|field| field.name == name) else {
            return Err(bad_request(format!(
                "alter: collection {} declares no field {name:?} to drop",
                collection.name
            ))
            .into());
        };
        fields.remove(position);
        if let Some(index) = declared_index(collection, name) {
            self.remove_index(collection, index);
        }
        Ok(())
    }

    fn declare_field(&mut self, collection: &mut Collection, field: &FieldSchema) -> Outcome<()> {
        let wanted =
            (field.index || field.unique).then(|| Index::declared_spec(&field.name, field.unique));
        if let Some(position) = declared_index(collection, &field.name)
            && wanted.as_ref() != Some(&collection.indexes[position].spec)
        {
            self.remove_index(collection, position);
        }
        let fields = &mut collection.schema.fields;
        match fields.iter_mut().find(|other| other.name == field.name) {
            Some(other) => *other = field.clone(),
            None => fields.push(field.clone()),
        }
        if let Some(spec) = wanted
            && declared_index(collection, &field.name).is_none()
        {
            self.add_index(collection, spec, true)?;
        }
        Ok(())
    }

    /// Whether the documents that are there fit what is declared of a field now. A field that is missing
    /// and has a default fits: the document gets it when it is next written.
    fn check_documents(&self, collection: &Collection, add: &Schema) -> Outcome<()> {
        let asks = |field: &&FieldSchema| {
            field.kind != FieldType::Any || (field.required && field.default.is_none())
        };
        let fields = add.fields.iter().filter(asks).map(|field| FieldSchema {
            required: field.required && field.default.is_none(),
            ..field.clone()
        });
        let schema = Schema { fields: fields.collect() };
        if schema.fields.is_empty() {
            return Ok(());
        }
        let count = self.state.counts.get(&collection.number).copied().unwrap_or_default();
        if count > ALTER_DOCUMENTS_MAX {
            return Err(too_many(&collection.name, &format!("{count} documents")).into());
        }
        let (from, to) = keys::prefix_range(&keys::documents(collection.number));
        let mut bytes = 0;
        for row in self.overlay.range(&from, &to, Direction::Forward) {
            let (_, value) = row?;
            bytes += value.len();
            if bytes > ALTER_BYTES_MAX {
                return Err(too_many(&collection.name, "documents of many bytes").into());
            }
            schema::check(&collection.name, &schema, &decode(&value)?)?;
        }
        Ok(())
    }
}

fn too_many(collection: &str, what: &str) -> Error {
    too_large(format!(
        "alter: collection {collection} has {what}, too many to be checked in one step (at most \
         {ALTER_DOCUMENTS_MAX} documents of {ALTER_BYTES_MAX} bytes); with option \"check\":false the \
         schema holds for what is written from now on"
    ))
}

/// The position of the index that came with a field.
fn declared_index(collection: &Collection, field: &str) -> Option<usize> {
    let is_of = |index: &Index| index.declared && index.spec.keys[0].path == field;
    collection.indexes.iter().position(is_of)
}
