//! Updates: whatever a client writes is refused, or does the same to the same document twice, and leaves its `_id`.
#![no_main]

use fuzz::documents;
use libfuzzer_sys::fuzz_target;
use query::{Circumstances, Filter, Update, upsert_document};

fuzz_target!(|data: &[u8]| {
    let mut documents = documents(data).into_iter();
    let (Some(changes), Some(question)) = (documents.next(), documents.next()) else { return };
    let filters: Vec<_> = question.get_document("array").cloned().into_iter().collect();
    let Ok(update) = Update::parse(&changes, &filters) else { return };
    let filter = Filter::parse(&question);
    if let Ok(filter) = &filter
        && let Ok(mut document) = upsert_document(filter)
    {
        let circumstances = Circumstances { inserting: true, ..Circumstances::default() };
        let _ = update.apply(&mut document, &circumstances);
    }
    for document in documents {
        let position = match &filter {
            Ok(filter) => filter.check_position(&document).ok().and_then(|(_, position)| position),
            Err(_) => None,
        };
        let circumstances = Circumstances { time_ms: 1, position, inserting: false };
        let (mut once, mut twice) = (document.clone(), document.clone());
        let outcome = update.apply(&mut once, &circumstances);
        assert_eq!(outcome, update.apply(&mut twice, &circumstances));
        let Ok(bytes) = once.to_vec() else { continue };
        assert_eq!(Some(bytes), twice.to_vec().ok());
        if outcome.is_ok() {
            let id = |document: &api::Document| document.get("_id").map(ToString::to_string);
            assert_eq!(id(&once), id(&document), "_id is immutable");
        }
    }
});
