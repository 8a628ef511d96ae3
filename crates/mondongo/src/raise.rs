//! Whether a group may be raised to a feature level: every member is asked what it knows (`docs/design/paxos.md`).

use crate::status::{Asked, MEMBERS_AND_AWAY, ask_all};
use api::Document;

/// The level to raise the group of `members` to: `wanted`, or the newest that one of them knows.
///
/// # Errors
/// In words, if a member does not know the level, or does not answer and nobody vouches for it.
pub(crate) fn level_for(members: &str, wanted: Option<u32>, vouched: bool) -> Result<u32, String> {
    let given: Vec<String> = members.split(',').map(str::to_string).collect();
    let nodes = ask_all(&given, MEMBERS_AND_AWAY, false);
    choose(&nodes, wanted, vouched)
}

fn choose(nodes: &[Asked], wanted: Option<u32>, vouched: bool) -> Result<u32, String> {
    let known: Vec<(&str, Option<u32>)> = nodes
        .iter()
        .filter_map(|node| Some((&*node.address, known_by(node.answer.as_ref().ok()?))))
        .collect();
    let silent = nodes.iter().filter_map(|node| {
        let error = node.answer.as_ref().err()?;
        Some(format!("{} does not answer ({error})", node.address))
    });
    let silent: Vec<String> = silent.collect();
    if known.is_empty() {
        return Err(silent.join("; "));
    }
    // Where nobody tells, everybody is named below.
    let newest = known.iter().filter_map(|(_, level)| *level).max().unwrap_or_default();
    let level = wanted.unwrap_or(newest);
    let behind = known.iter().filter(|(_, known)| known.is_none_or(|known| known < level));
    let mut against: Vec<String> = behind
        .map(|(address, known)| match known {
            Some(known) => format!("{address} knows feature levels up to {known}"),
            None => format!("{address} runs a version that does not tell what it knows"),
        })
        .collect();
    let hint = if against.is_empty() {
        "start it, or remove it from the group; or, if it will run a version that knows the level, say \
         --the-silent-will-know-it"
    } else {
        "run a newer version there first"
    };
    if !vouched {
        against.extend(silent);
    }
    if against.is_empty() {
        return Ok(level);
    }
    let to = if level > 0 { format!(" to feature level {level}") } else { String::new() };
    Err(format!("not raised{to}: {}; {hint}", against.join("; ")))
}

fn known_by(status: &Document) -> Option<u32> {
    u32::try_from(status.get_i64("feature_level_max").ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn knows(address: &str, level: Option<i64>) -> Asked {
        let status = level.map_or_else(Document::new, |level| doc! {"feature_level_max": level});
        Asked { address: address.into(), answer: Ok(status) }
    }

    fn silent(address: &str) -> Asked {
        Asked { address: address.into(), answer: Err("connection refused".into()) }
    }

    #[test]
    fn a_level_is_chosen_that_every_member_knows() {
        assert_eq!(choose(&[knows("a:1", Some(2)), knows("b:1", Some(2))], None, false), Ok(2));
        assert_eq!(choose(&[knows("a:1", Some(3)), knows("b:1", Some(2))], Some(2), false), Ok(2));
    }

    #[test]
    fn who_does_not_know_the_level_is_named_whatever_is_vouched_for() {
        for vouched in [false, true] {
            let told = choose(&[knows("a:1", Some(3)), knows("b:1", Some(2))], None, vouched);
            let told = told.expect_err("b does not know 3");
            assert!(told.contains("level 3") && told.contains("b:1 knows feature levels up to 2"));
            let told = choose(&[knows("a:1", Some(2)), knows("b:1", None)], None, vouched);
            assert!(told.expect_err("b does not tell").contains("b:1 runs a version"));
        }
    }

    #[test]
    fn who_does_not_answer_is_named_unless_it_is_vouched_for() {
        let told = choose(&[knows("a:1", Some(2)), silent("b:1")], None, false);
        let told = told.expect_err("b is silent");
        assert!(told.contains("b:1 does not answer (connection refused)"), "{told}");
        assert!(told.contains("--the-silent-will-know-it"), "{told}");
        assert_eq!(choose(&[knows("a:1", Some(2)), silent("b:1")], None, true), Ok(2));
        assert!(choose(&[silent("b:1")], None, true).is_err(), "nobody answers");
    }
}
