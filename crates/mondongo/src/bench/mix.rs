//! What a client asks for, and how often each: `put`, or `get=80,put=20`.

use std::fmt;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// Writes a key.
    Put,
    /// Reads a key, linearizably.
    Get,
    /// Reads a key as the node that is asked has it.
    GetLocal,
    /// Writes a key and gets the value before.
    Swap,
    /// Writes a key of its own if it holds what the client wrote last.
    Cas,
    /// Inserts a document.
    Insert,
    /// Finds one document by an index.
    Search,
    /// Finds ten documents in the order of an index.
    Range,
    /// Changes one document, found by an index.
    Update,
    /// Several writes in one request.
    Batch,
}

impl Operation {
    pub(crate) const ALL: [Operation; 10] = [
        Operation::Put,
        Operation::Get,
        Operation::GetLocal,
        Operation::Swap,
        Operation::Cas,
        Operation::Insert,
        Operation::Search,
        Operation::Range,
        Operation::Update,
        Operation::Batch,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::GetLocal => "get-local",
            Operation::Swap => "swap",
            Operation::Cas => "cas",
            Operation::Insert => "insert",
            Operation::Search => "search",
            Operation::Range => "range",
            Operation::Update => "update",
            Operation::Batch => "batch",
        }
    }

    /// Whether it works on documents, else on keys.
    pub(crate) fn is_about_documents(self) -> bool {
        matches!(self, Operation::Insert | Operation::Search | Operation::Range | Operation::Update)
    }

    /// Whether it finds only what was loaded before.
    pub(crate) fn needs_content(self) -> bool {
        matches!(
            self,
            Operation::Get
                | Operation::GetLocal
                | Operation::Search
                | Operation::Range
                | Operation::Update
        )
    }

    /// Where it stands in [`Operation::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Operations with their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Each once, with a weight above 0, in the order given.
    parts: Vec<(Operation, u64)>,
    total: u64,
}

/// No weight may be larger.
const WEIGHT_MAX: u64 = 1_000_000;

impl Mix {
    /// Reads `NAME` or `NAME=WEIGHT,NAME=WEIGHT…`.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Mix, String> {
        let mut parts: Vec<(Operation, u64)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, weight) = match part.split_once('=') {
                Some((name, weight)) => {
                    let weight = weight.trim().parse::<u64>().ok();
                    let weight = weight.filter(|weight| (1..=WEIGHT_MAX).contains(weight));
                    let wrong = || {
                        format!(
                            "{part:?}: a weight is a whole number from 1 to {WEIGHT_MAX}, as in get=80,put=20"
                        )
                    };
                    (name.trim(), weight.ok_or_else(wrong)?)
                }
                None => (part, 1),
            };
            let operation = Operation::ALL.into_iter().find(|known| known.name() == name);
            let operation = operation.ok_or_else(|| {
                let names = Operation::ALL.map(Operation::name).join(", ");
                format!("there is no operation {name:?}; there are {names}")
            })?;
            if parts.iter().any(|(known, _)| *known == operation) {
                return Err(format!("{name} stands twice in {text:?}"));
            }
            parts.push((operation, weight));
        }
        let total = parts.iter().map(|(_, weight)| weight).sum();
        Ok(Mix { parts, total })
    }

    /// The operations, in the order given.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation> + '_ {
        self.parts.iter().map(|(operation, _)| *operation)
    }

    /// The next operation, by lot.
    pub(crate) fn draw(&self, rng: &mut fastrand::Rng) -> Operation {
        match &self.parts[..] {
            [(only, _)] => *only,
            _ => self.at(rng.u64(..self.total)),
        }
    }

    /// The operation that a lot below the total weight means.
    fn at(&self, lot: u64) -> Operation {
        let mut left = lot;
        for (operation, weight) in &self.parts {
            if left < *weight {
                return *operation;
            }
            left -= weight;
        }
        unreachable!("a lot is below the total weight")
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(only, _)] = &self.parts[..] {
            return f.write_str(only.name());
        }
        for (position, (operation, weight)) in self.parts.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{}={weight}", operation.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_stand_where_their_index_says() {
        for (position, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation.index(), position);
        }
    }

    #[test]
    fn mixes_are_names_with_weights() {
        for text in ["put", "get=80,put=20", "get-local=1,batch=3,range=2"] {
            assert_eq!(Mix::parse(text).expect(text).to_string(), text);
        }
        let mix = Mix::parse(" get , put=3").expect("blanks are allowed");
        assert_eq!(mix.to_string(), "get=1,put=3");
        for (text, part) in [
            ("", "no operation \"\""),
            ("putt", "there are put, get, get-local"),
            ("get=0", "from 1 to"),
            ("get=80%", "from 1 to"),
            ("get=80,get=20", "twice"),
            ("get,", "no operation \"\""),
        ] {
            let message = Mix::parse(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn each_operation_has_as_many_lots_as_its_weight() {
        let mix = Mix::parse("get=80,put=19,cas=1").expect("a mix");
        let mut counts = [0; Operation::ALL.len()];
        for lot in 0..mix.total {
            counts[mix.at(lot).index()] += 1;
        }
        assert_eq!(counts[Operation::Get.index()], 80);
        assert_eq!(counts[Operation::Put.index()], 19);
        assert_eq!(counts[Operation::Cas.index()], 1);
        assert_eq!(counts.iter().sum::<u64>(), 100);
    }
}
