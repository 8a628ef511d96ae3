//! Whether a query is about documents only that an index is about: what a sparse or partial index leaves
//! out must not be missed.

use crate::bounds::Bounds;
use crate::failure::bad_request;
use crate::index::Index;
use api::Error;
use api::path::Path;
use query::{Filter, Test};

/// Tests that every document passes which a query means.
pub(crate) type Tests<'f> = [(&'f Path, &'f Test)];

/// Checks that the `where` of an index is of a kind that a query can be seen to imply.
///
/// # Errors
/// If it is more than comparisons, `$in` and `$exists`, joined by "and".
pub(crate) fn check_where(filter: &Filter) -> Result<(), Error> {
    let fits = match filter {
        Filter::And(filters) => return filters.iter().try_for_each(check_where),
        Filter::Test(_, Test::Exists) => true,
        Filter::Test(_, test) => Bounds::of(test).is_some_and(|bounds| bounds.exact),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(bad_request(
        "create_index: where takes comparisons with single values, $in and \"$exists\":true, joined by \
         \"and\"; a query could not be seen to imply anything else",
    ))
}

/// Whether an index has every document that passes the tests.
pub(crate) fn has_all(index: &Index, tests: &Tests<'_>) -> bool {
    #[cfg(feature = "planted-bugs")]
    if crate::planted(crate::PlantedBug::PartialWithoutImplication) {
        return true;
    }
    if index.spec.sparse && !index.paths().iter().any(|path| is_present(path, tests)) {
        return false;
    }
    let Some(filter) = index.filter() else { return true };
    filter.required_tests().iter().all(|(path, test)| is_implied(path, test, tests))
}

/// Whether the tests ask for something other than null at the path.
fn is_present(path: &Path, tests: &Tests<'_>) -> bool {
    on(path, tests).any(|test| match test {
        Test::Exists | Test::Regex(_) => true,
        test => Bounds::of(test).is_some_and(|bounds| !bounds.has_null()),
    })
}

/// Whether each value that passes one of the tests on the path passes `wanted` too. Then whichever value
/// lets a document pass the one, an element of a list or not, lets it pass the other.
fn is_implied(path: &Path, wanted: &Test, tests: &Tests<'_>) -> bool {
    if let Test::Exists = wanted {
        return is_present(path, tests);
    }
    let Some(wanted) = Bounds::of(wanted) else { return false };
    let bounds = on(path, tests).filter_map(Bounds::of);
    bounds.filter(|bounds| bounds.exact).any(|bounds| bounds.is_within(&wanted))
}

fn on<'f>(path: &Path, tests: &Tests<'f>) -> impl Iterator<Item = &'f Test> {
    tests.iter().filter(move |(other, _)| *other == path).map(|(_, test)| *test)
}
