//! The paths of an update, in which `$`, `$[]` and `$[name]` stand for elements of lists.

use super::operation::Operation;
use crate::error::{bad_query, show};
use crate::filter::Filter;
use crate::visit::Root;
use api::path::{Path, element_number};
use api::{Document, Error, Value};

/// Most places that one path of an update may mean in one document.
pub const PLACES_MAX: usize = 100_000;

/// A path to change.
#[derive(Clone, Debug)]
pub(super) struct Target {
    path: Path,
    steps: Vec<Step>,
}

/// What a part of the path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Name,
    /// `$`: the element that the filter found.
    Matched,
    /// `$[]`: every element.
    All,
    /// `$[name]`: the elements that the array filter at this position means.
    Filtered(usize),
}

/// A place found, and what happens there.
pub(super) type Places<'u> = Vec<(Vec<String>, &'u Operation)>;

impl Target {
    /// Reads a path; `used` marks the array filters that it names.
    pub(super) fn parse(
        operator: &str,
        text: &str,
        array_filters: &[(String, Filter)],
        used: &mut [bool],
    ) -> Result<Target, Error> {
        let path = Path::parse(text)?;
        let wrong = |what: &str| Err(bad_query(format!("{operator}: {path}: {what}")));
        let mut steps = Vec::with_capacity(path.parts().len());
        for (position, part) in path.parts().iter().enumerate() {
            let step = match part.as_str() {
                "$" => Step::Matched,
                "$[]" => Step::All,
                part => match part.strip_prefix("$[").and_then(|rest| rest.strip_suffix(']')) {
                    Some(name) => {
                        let number = array_filters.iter().position(|(known, _)| known == name);
                        let Some(number) = number else {
                            return wrong(&format!(
                                "No array filter found for identifier '{name}'"
                            ));
                        };
                        used[number] = true;
                        Step::Filtered(number)
                    }
                    None if part.starts_with('$') => {
                        return wrong("a field name to change does not begin with $");
                    }
                    None => Step::Name,
                },
            };
            if position == 0 && step != Step::Name {
                return wrong("a positional operator follows the name of a list");
            }
            steps.push(step);
        }
        if steps.iter().filter(|step| **step == Step::Matched).count() > 1 {
            return wrong("'$' may stand only once in a path");
        }
        Ok(Target { path, steps })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_dynamic(&self) -> bool {
        self.steps.iter().any(|step| *step != Step::Name)
    }

    pub(super) fn needs_position(&self) -> bool {
        self.steps.contains(&Step::Matched)
    }

    /// The path, if nothing in it has to be found.
    pub(super) fn fixed(&self) -> &[String] {
        self.path.parts()
    }

    /// Adds the places that the path means in a document.
    pub(super) fn expand<'u>(
        &self,
        document: &Document,
        position: Option<usize>,
        array_filters: &[(String, Filter)],
        operation: &'u Operation,
        places: &mut Places<'u>,
    ) -> Result<(), Error> {
        let mut expansion = Expansion {
            target: self,
            position,
            array_filters,
            operation,
            most: places.len() + PLACES_MAX,
            places,
        };
        let first = self.path.parts()[0].clone();
        let value = document.get(&first);
        expansion.go(value, 1, &mut vec![first])
    }
}

struct Expansion<'a, 'u> {
    target: &'a Target,
    position: Option<usize>,
    array_filters: &'a [(String, Filter)],
    operation: &'u Operation,
    most: usize,
    places: &'a mut Places<'u>,
}

impl Expansion<'_, '_> {
    /// `value`: what stands at the path so far.
    fn go(
        &mut self,
        value: Option<&Value>,
        step: usize,
        so_far: &mut Vec<String>,
    ) -> Result<(), Error> {
        if step == self.target.steps.len() {
            if self.places.len() >= self.most {
                return Err(bad_query(format!(
                    "the path '{}' means more than {PLACES_MAX} places of one document",
                    self.target.path
                )));
            }
            self.places.push((so_far.clone(), self.operation));
            return Ok(());
        }
        match self.target.steps[step] {
            Step::Name => {
                let part = &self.target.path.parts()[step];
                let inner = match value {
                    Some(Value::Document(document)) => document.get(part),
                    Some(Value::Array(elements)) => {
                        element_number(part).and_then(|number| elements.get(number))
                    }
                    _ => None,
                };
                self.enter(inner, step, part.clone(), so_far)
            }
            Step::Matched => {
                let position = self.position.ok_or_else(|| {
                    bad_query(
                        "The positional operator did not find the match needed from the query: \
                         the filter must have found an element of the list",
                    )
                })?;
                let inner = match value {
                    Some(Value::Array(elements)) => elements.get(position),
                    Some(Value::Document(document)) => document.get(position.to_string()),
                    _ => None,
                };
                self.enter(inner, step, position.to_string(), so_far)
            }
            kind @ (Step::All | Step::Filtered(_)) => {
                let elements = self.list(value, so_far)?;
                for (number, element) in elements.iter().enumerate() {
                    if let Step::Filtered(filter) = kind
                        && !self.array_filters[filter].1.holds(Root::Named(element), &mut None)?
                    {
                        continue;
                    }
                    self.enter(Some(element), step, number.to_string(), so_far)?;
                }
                Ok(())
            }
        }
    }

    fn enter(
        &mut self,
        value: Option<&Value>,
        step: usize,
        part: String,
        so_far: &mut Vec<String>,
    ) -> Result<(), Error> {
        so_far.push(part);
        let result = self.go(value, step + 1, so_far);
        so_far.pop();
        result
    }

    fn list<'v>(&self, value: Option<&'v Value>, so_far: &[String]) -> Result<&'v [Value], Error> {
        match value {
            Some(Value::Array(elements)) => Ok(elements),
            None => Err(bad_query(format!(
                "The path '{}' must exist in the document in order to apply array updates",
                so_far.join(".")
            ))),
            Some(other) => Err(bad_query(format!(
                "Cannot apply array updates to the element '{}', which is no list but holds {}",
                so_far.join("."),
                show(other)
            ))),
        }
    }
}
