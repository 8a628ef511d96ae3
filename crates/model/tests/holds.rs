//! The smallest configurations hold, show everything they must, and say the same twice. The others are a step
//! of `cargo xtask check`.

use model::{Configuration, Search, check};

#[test]
fn the_small_configurations_hold() {
    for name in ["steady", "change", "grow"] {
        let configuration = Configuration::named(name).expect("a configuration has this name");
        let report = check(&configuration, Search::Exhaustive, 2);
        assert!(
            report.holds(),
            "{name}: {:?}\n{}",
            report.properties,
            report.trace.unwrap_or_default()
        );
    }
}

#[test]
fn the_number_of_states_does_not_depend_on_the_order_of_the_search() {
    let configuration = Configuration::named("steady").expect("a configuration has this name");
    let deep = check(&configuration, Search::Exhaustive, 2);
    let near = check(&configuration, Search::Shortest, 1);
    assert_eq!(deep.states, near.states);
}

#[test]
fn every_configuration_has_a_name_of_its_own() {
    let mut names: Vec<_> = Configuration::all().into_iter().map(|c| c.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
