//! The key-value map.

use crate::codec::{Reader, Writer};
use crate::engine::View;
use crate::failure::{Fatal, Outcome};
use crate::keys;
use crate::overlay::Overlay;
use api::{Value, order};
use bson::doc;

/// The value of `key`; null where there is none.
pub(crate) fn read(view: &impl View, key: &str) -> Outcome<Value> {
    let Some(row) = view.get(&keys::pair(key))? else { return Ok(Value::Null) };
    let mut reader = Reader::new(&row);
    let value = reader
        .value("a value")
        .map_err(|error| Fatal::Damaged(format!("the value of key {key:?}: {error}")))?;
    Ok(value)
}

/// Sets `key`, or removes it if the value is null. Answers the value.
pub(crate) fn write<V: View>(overlay: &mut Overlay<V>, key: &str, value: &Value) -> Outcome<Value> {
    if *value == Value::Null {
        overlay.delete(keys::pair(key));
    } else {
        let mut writer = Writer::default();
        writer.value(value);
        overlay.put(keys::pair(key), writer.0);
    }
    Ok(value.clone())
}

/// Sets `key` and answers what it held before.
pub(crate) fn swap<V: View>(overlay: &mut Overlay<V>, key: &str, value: &Value) -> Outcome<Value> {
    let before = read(overlay, key)?;
    write(overlay, key, value)?;
    Ok(before)
}

/// Sets `key` if it holds `expected` (null: nothing), and answers whether it did.
pub(crate) fn compare_and_set<V: View>(
    overlay: &mut Overlay<V>,
    key: &str,
    expected: &Value,
    value: &Value,
) -> Outcome<Value> {
    let current = read(overlay, key)?;
    if !order::equal(&current, expected) {
        return Ok(Value::from(doc! { "swapped": false, "current": current }));
    }
    write(overlay, key, value)?;
    Ok(Value::from(doc! { "swapped": true }))
}
