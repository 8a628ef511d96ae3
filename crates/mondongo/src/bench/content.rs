//! What is written and found again: keys, values, documents. All follow from their numbers.

use api::{Document, FieldSchema, FieldType, Schema, Value};

/// Before the number of a key: no other program's keys are touched.
pub(crate) const KEY_PREFIX: &str = "bench/";
/// Documents of one range.
pub(crate) const RANGE_DOCUMENTS: u64 = 10;
/// Ages from one end of a range to the other.
const RANGE_AGES: i64 = 6;
const AGE_FIRST: i64 = 18;
const AGES: i64 = 80;
/// With so many documents every range is full.
pub(crate) const RANGE_NEEDS: u64 = 2 * AGES as u64;
const _: () = assert!(2 * RANGE_AGES as u64 >= RANGE_DOCUMENTS);
/// Letters that values and documents are cut from.
const LETTERS: usize = 4_096;
const ABOUT_BYTES: usize = 130;

/// Makes content, and knows it when it comes back.
#[derive(Debug)]
pub(crate) struct Content {
    value_bytes: usize,
    letters: String,
}

impl Content {
    pub(crate) fn new(value_bytes: usize) -> Content {
        let mut rng = fastrand::Rng::with_seed(1);
        let letters = (0..LETTERS + value_bytes.max(ABOUT_BYTES)).map(|_| rng.alphanumeric());
        Content { value_bytes, letters: letters.collect() }
    }

    /// One of many values of a key; it begins with the key, as far as there is room.
    pub(crate) fn value(&self, key: &str, rng: &mut fastrand::Rng) -> String {
        let mut value = String::with_capacity(self.value_bytes.max(key.len()));
        value.push_str(key);
        value.truncate(self.value_bytes);
        let start = rng.usize(..LETTERS);
        value.push_str(&self.letters[start..start + self.value_bytes - value.len()]);
        value
    }

    /// What is wrong with an answer that should be a value of `key`, if anything is.
    pub(crate) fn wrong_value(&self, key: &str, answer: &Value) -> Option<String> {
        let Value::String(value) = answer else {
            return Some(format!("{key} holds {}", short(answer)));
        };
        if value.len() != self.value_bytes {
            let (found, wanted) = (value.len(), self.value_bytes);
            return Some(format!("{key} holds {found} bytes where {wanted} were written"));
        }
        let begins = &key[..key.len().min(self.value_bytes)];
        (!value.starts_with(begins)).then(|| format!("{key} holds the value of another key"))
    }

    /// A document of about 250 bytes.
    pub(crate) fn document(&self, number: u64, email: String) -> Document {
        let start = (number % LETTERS as u64) as usize;
        let mut document = Document::new();
        document.insert("email", email);
        document.insert("age", age(number));
        document.insert("score", 0i64);
        document.insert("active", number.is_multiple_of(2));
        document.insert("city", format!("city {}", number % 500));
        document.insert("tags", vec![format!("t{}", number % 17), format!("u{}", number % 31)]);
        document.insert("about", &self.letters[start..start + ABOUT_BYTES]);
        document
    }
}

/// Of the key with this number.
pub(crate) fn key(number: u64) -> String {
    format!("{KEY_PREFIX}{number:09}")
}

/// Of the loaded document with this number, which alone has it.
pub(crate) fn email(number: u64) -> String {
    format!("user-{number:09}@example.org")
}

fn age(number: u64) -> i64 {
    AGE_FIRST + (number % AGES as u64) as i64
}

/// The lowest and the highest age of a range that holds [`RANGE_DOCUMENTS`] at least.
pub(crate) fn range(rng: &mut fastrand::Rng) -> (i64, i64) {
    let low = AGE_FIRST + rng.i64(0..=AGES - RANGE_AGES);
    (low, low + RANGE_AGES - 1)
}

/// Of the collection: two indexed fields.
pub(crate) fn schema() -> Schema {
    let field = |name: &str, kind| FieldSchema {
        name: name.to_owned(),
        kind,
        index: true,
        unique: false,
        required: false,
        default: None,
    };
    Schema { fields: vec![field("email", FieldType::Str), field("age", FieldType::Int)] }
}

/// The field of a document as a whole number.
pub(crate) fn whole(document: &Document, field: &str) -> Option<i64> {
    match document.get(field)? {
        Value::Int64(number) => Some(*number),
        Value::Int32(number) => Some(i64::from(*number)),
        _ => None,
    }
}

/// An answer, cut for a message.
pub(crate) fn short(value: &Value) -> String {
    let text = api::json::to_string(value);
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_about_250_bytes() {
        let content = Content::new(1);
        for number in [0, 7, 99_999, 999_999_999] {
            let document = content.document(number, email(number));
            let length = api::json::to_string(&Value::Document(document)).len();
            assert!((235..=265).contains(&length), "{length}");
        }
    }

    #[test]
    fn values_are_known_again_and_others_are_not() {
        let mut rng = fastrand::Rng::with_seed(3);
        for bytes in [1, 5, 15, 16, 256] {
            let content = Content::new(bytes);
            let value = Value::String(content.value(&key(7), &mut rng));
            assert_eq!(content.wrong_value(&key(7), &value), None, "{bytes}");
            let longer = Value::String(Content::new(bytes + 1).value(&key(7), &mut rng));
            let message = content.wrong_value(&key(7), &longer).expect("its length differs");
            assert!(message.contains("bytes where"), "{message}");
            let absent = content.wrong_value(&key(7), &Value::Null).expect("it is absent");
            assert!(absent.contains("holds null"), "{absent}");
            if bytes >= key(7).len() {
                let message = content.wrong_value(&key(8), &value).expect("another key's");
                assert!(message.contains("another key"), "{message}");
            }
        }
    }

    #[test]
    fn every_range_is_full() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..1_000 {
            let (low, high) = range(&mut rng);
            let within = (0..RANGE_NEEDS).filter(|n| (low..=high).contains(&age(*n))).count();
            assert!(within as u64 >= RANGE_DOCUMENTS, "{low} to {high}: {within}");
        }
    }
}
