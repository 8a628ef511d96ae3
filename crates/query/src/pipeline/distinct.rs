//! The different values of one field.

use super::PIPELINE_BYTES_MAX;
use crate::ordered::Ordered;
use crate::size::value_bytes;
use crate::visit::Root;
use api::path::Path;
use api::{Document, Error, ErrorCode, Value};
use std::collections::BTreeSet;

/// Collects the different values at a path; a list counts as its elements, and nothing as nothing.
#[derive(Debug)]
pub struct Distinct {
    path: Path,
    values: BTreeSet<Ordered<Value>>,
    bytes: usize,
}

impl Distinct {
    /// For a field path.
    ///
    /// # Errors
    /// `bad_query` if it is none.
    pub fn new(field: &str) -> Result<Distinct, Error> {
        Ok(Distinct { path: Path::parse(field)?, values: BTreeSet::new(), bytes: 0 })
    }

    /// Takes the next document.
    ///
    /// # Errors
    /// `result_too_large` if there are too many values.
    pub fn push(&mut self, document: &Document) -> Result<(), Error> {
        let Distinct { path, values, bytes } = self;
        let mut add = |value: &Value| {
            let value = Ordered(value.clone());
            let size = value_bytes(&value.0) + 16;
            if values.insert(value) {
                *bytes += size;
            }
        };
        Root::Document(document).visit(path.parts(), &mut |value, _| {
            match value {
                Some(Value::Array(elements)) => elements.iter().for_each(&mut add),
                Some(value) => add(value),
                None => {}
            }
            false
        });
        if self.bytes > PIPELINE_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::ResultTooLarge,
                format!(
                    "distinct: the values of {} take more than {PIPELINE_BYTES_MAX} bytes; narrow \
                     the query",
                    self.path
                ),
            ));
        }
        Ok(())
    }

    /// The values, in their order.
    pub fn finish(self) -> Vec<Value> {
        self.values.into_iter().map(|value| value.0).collect()
    }
}
