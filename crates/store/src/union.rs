//! Several indexes for one query: each branch of an `$or` by its own.
//!
//! A document that passes the filter passes some branch, and is found by the plan of each branch that it
//! passes. It counts at the first of them, which is told from the document itself: nothing is remembered. If
//! every plan gives the order that was asked for, their documents are merged, and a limit ends all of them.

use crate::catalog::Collection;
use crate::implied::Tests;
use crate::plan::{Asks, Kind, Order, Plan, Rank, best_plan};
use api::path::Path;
use api::{Document, SearchOptions, Value, order};
use bson::doc;
use query::{Comparison, Filter, Test};

/// Most branches of one union; an `$or` with more is answered without them. Each reads its index at most
/// once, so that this is also how much more work a union may be than to read the documents.
pub(crate) const UNION_BRANCHES_MAX: usize = 64;

/// The plans of all branches of an `$or`.
#[derive(Clone, Debug)]
pub(crate) struct Union<'c> {
    /// In the order in which they stand in the filter; two or more.
    pub(crate) branches: Vec<Branch<'c>>,
}

/// One branch with its plan.
#[derive(Clone, Debug)]
pub(crate) struct Branch<'c> {
    pub(crate) filter: &'c Filter,
    /// Finds all documents that pass the branch and what is joined to the `$or` by "and".
    pub(crate) plan: Plan<'c>,
}

impl Union<'_> {
    /// The first branch that a document passes; `None` if it passes none, and so not the filter either.
    pub(crate) fn branch_of(&self, document: &Document) -> Option<usize> {
        self.branches.iter().position(|branch| branch.filter.matches(document))
    }

    pub(crate) fn order(&self) -> Order {
        match self.branches.iter().all(|branch| branch.plan.order == Order::Asked) {
            true => Order::Asked,
            false => Order::None,
        }
    }

    /// It is as good as its worst branch, and comes in order only if all do.
    pub(crate) fn rank(&self) -> Rank {
        let ranks = self.branches.iter().map(|branch| branch.plan.rank());
        let worst = ranks.reduce(Rank::worse);
        let worst = worst.unwrap_or_else(|| unreachable!("a union has branches"));
        let prefers_order = self.branches.iter().any(|branch| branch.plan.prefers_order());
        worst.for_free(self.order() == Order::Asked, false, prefers_order)
    }

    pub(crate) fn describe(&self) -> Document {
        let branches = self.branches.iter().map(|branch| Value::from(branch.plan.describe()));
        doc! {
            "plan": "union",
            "branches": branches.collect::<Vec<_>>(),
            "ordered_by_index": self.order() == Order::Asked,
        }
    }
}

/// The filters that are joined by "and"; an `$or` of one is that one.
pub(crate) fn conjuncts(filter: &Filter) -> Vec<&Filter> {
    match filter {
        Filter::And(filters) => filters.iter().flat_map(conjuncts).collect(),
        Filter::Or(filters) if filters.len() == 1 => conjuncts(&filters[0]),
        filter => vec![filter],
    }
}

/// The filters that are joined by "or".
fn disjuncts(filter: &Filter) -> Vec<&Filter> {
    match filter {
        Filter::Or(filters) => filters.iter().flat_map(disjuncts).collect(),
        Filter::And(filters) if filters.len() == 1 => disjuncts(&filters[0]),
        filter => vec![filter],
    }
}

/// What `$or` asks if it asks nothing but which values one field has: the same as `$in`.
pub(crate) fn as_values(branches: &[Filter]) -> Option<(&Path, Test)> {
    let mut field: Option<&Path> = None;
    let mut all: Vec<Value> = Vec::new();
    for branch in branches.iter().flat_map(disjuncts) {
        let [Filter::Test(path, test)] = conjuncts(branch)[..] else { return None };
        if *field.get_or_insert(path) != path {
            return None;
        }
        match test {
            Test::Compare(Comparison::Equal, value) => all.push(value.clone()),
            Test::In(values, patterns) if patterns.is_empty() => all.extend(values.iter().cloned()),
            _ => return None,
        }
    }
    all.sort_by(order::compare);
    all.dedup_by(|one, other| order::equal(one, other));
    Some((field?, Test::In(all, Vec::new())))
}

/// The unions that can answer a query whose filter is `parts` joined by "and": one for each `$or` among them
/// all of whose branches are narrowed by an index. `tests` is what all parts ask.
pub(crate) fn unions<'c>(
    collection: &'c Collection,
    parts: &[&'c Filter],
    tests: &Tests<'_>,
    search: &SearchOptions,
) -> Vec<Union<'c>> {
    // Which documents an expression is asked of must not depend on plans: it can refuse the request.
    if parts.iter().any(|part| part.has_expression()) {
        return Vec::new();
    }
    let union = |part: &&'c Filter| {
        let Filter::Or(branches) = part else { return None };
        // One index has them all.
        if as_values(branches).is_some() {
            return None;
        }
        let branches = disjuncts(part);
        if branches.len() > UNION_BRANCHES_MAX {
            return None;
        }
        let branch = |filter: &'c Filter| {
            let parts = conjuncts(filter);
            let asks = Asks::of(&parts);
            let tests = [tests, &asks.tests()].concat();
            let plan = best_plan(collection, &tests, search)?;
            (plan.kind < Kind::Sort).then_some(Branch { filter, plan })
        };
        let branches = branches.into_iter().map(branch).collect::<Option<Vec<_>>>()?;
        Some(Union { branches })
    };
    parts.iter().filter_map(union).collect()
}
