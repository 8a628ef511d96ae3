//! Explores a configuration and says what was seen.

use crate::configuration::Configuration;
use crate::protocol::Protocol;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// In which order states are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// All of them, deepest first: needs the least memory.
    Exhaustive,
    /// Nearest first, and only until something is broken: finds short traces.
    Shortest,
}

/// What was seen of one configuration.
#[derive(Clone, Debug)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Steps, with those that led to a state seen before.
    pub steps: usize,
    /// The longest way that was gone from the beginning.
    pub depth: usize,
    /// What it took.
    pub time: Duration,
    /// Each property, and whether it is as it should be.
    pub properties: Vec<(&'static str, bool)>,
    /// For the first invariant that does not hold, the way there: one line a step, and the state at its end.
    pub trace: Option<String>,
}

impl Report {
    /// Whether every invariant holds and everything that must be possible was seen.
    pub fn holds(&self) -> bool {
        self.properties.iter().all(|(_, holds)| *holds)
    }
}

/// Explores `configuration` on so many threads.
pub fn check(configuration: &Configuration, search: Search, threads: usize) -> Report {
    let begun = Instant::now();
    let builder = Protocol(configuration.clone()).checker().threads(threads);
    let builder = builder.finish_when(HasDiscoveries::AnyFailures);
    match search {
        Search::Exhaustive => report(&builder.spawn_dfs().join(), begun),
        Search::Shortest => report(&builder.spawn_bfs().join(), begun),
    }
}

/// Explores `configuration`, nearest states first, until the invariant of this number (`I6`) fails, or to the end. Others
/// may fail on the way: which of several is met first hangs on the threads.
///
/// # Panics
/// If no invariant has this number.
pub fn check_until(configuration: &Configuration, number: &str, threads: usize) -> Report {
    let begun = Instant::now();
    let protocol = Protocol(configuration.clone());
    let prefix = format!("{number}:");
    let names = protocol.properties().into_iter().map(|property| property.name);
    let wanted: BTreeSet<&'static str> = names.filter(|name| name.starts_with(&prefix)).collect();
    assert!(!wanted.is_empty(), "there is an invariant {number}");
    let builder = protocol.checker().threads(threads).finish_when(HasDiscoveries::AllOf(wanted));
    report(&builder.spawn_bfs().join(), begun)
}

fn report(checker: &impl Checker<Protocol>, begun: Instant) -> Report {
    let discoveries = checker.discoveries();
    let mut trace = None;
    let mut properties = Vec::new();
    for property in checker.model().properties() {
        let found = discoveries.get(property.name);
        let is_invariant = property.expectation != Expectation::Sometimes;
        properties.push((property.name, found.is_some() != is_invariant));
        if let (true, Some(path), None) = (is_invariant, found, &trace) {
            trace = Some(told(path));
        }
    }
    Report {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        time: begun.elapsed(),
        properties,
        trace,
    }
}

fn told(path: &Path<crate::State, crate::Action>) -> String {
    let mut text = String::new();
    for (number, action) in (1..).zip(path.clone().into_actions()) {
        let _ = writeln!(text, "{number:4}  {action:?}");
    }
    for (number, node) in path.last_state().nodes.iter().enumerate() {
        let _ = writeln!(text, "node {number}: {node:?}");
    }
    let _ = write!(text, "known to be decided: {:?}", path.last_state().known);
    text
}
