//! Which changes a watch asks for.

use crate::feed::Change;
use api::{Error, Subject, Watch};
use query::Filter;

/// What a [`Watch`] looks at.
pub struct Interest {
    subject: Subject,
    filter: Option<Filter>,
}

impl Interest {
    /// Of a watch.
    ///
    /// # Errors
    /// What is wrong with its filter.
    pub fn of(watch: &Watch) -> Result<Interest, Error> {
        let filter = watch.filter.as_ref().map(Filter::parse).transpose()?;
        Ok(Interest { subject: watch.subject.clone(), filter })
    }

    /// What is looked at.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether a change is asked for. Of the changes to a collection, a filter leaves out those whose document,
    /// as it is afterwards, does not match.
    ///
    /// # Errors
    /// A filter that takes too much work on this document.
    pub fn admits(&self, change: &Change) -> Result<bool, Error> {
        Ok(match (&self.subject, change) {
            (Subject::Key(wanted), Change::Write { key, .. }) => key == wanted,
            (Subject::Prefix(prefix), Change::Write { key, .. }) => {
                key.starts_with(prefix.as_str())
            }
            (
                Subject::Collection(wanted),
                Change::Insert { collection, document } | Change::Update { collection, document },
            ) => {
                collection == wanted
                    && match &self.filter {
                        Some(filter) => filter.check(document)?,
                        None => true,
                    }
            }
            (
                Subject::Collection(wanted),
                Change::Delete { collection, .. }
                | Change::Create { collection }
                | Change::Destroy { collection },
            ) => collection == wanted,
            _ => false,
        })
    }
}
