//! Filters, projections and sorts over documents: whatever a client writes is refused or means the same twice, and a
//! filter and its negation share no document and miss none.
#![no_main]

use api::{Document, Value};
use fuzz::documents;
use libfuzzer_sys::fuzz_target;
use query::{Distinct, Filter, Projection, SortKeys};

fuzz_target!(|data: &[u8]| {
    let mut documents = documents(data).into_iter();
    let (Some(question), Some(fields)) = (documents.next(), documents.next()) else { return };
    let projection = Projection::parse(Some(&fields));
    let keys = SortKeys::parse("sort", &fields);
    let mut distinct = fields.keys().next().and_then(|field| Distinct::new(field).ok());
    let Ok(filter) = Filter::parse(&question) else { return };
    let negation = Document::from_iter([("$nor".to_owned(), Value::Array(vec![question.into()]))]);
    let negation = Filter::parse(&negation).ok();
    for document in documents {
        let means = filter.check(&document);
        assert_eq!(means, filter.check(&document));
        assert_eq!(filter.check_position(&document).map(|(means, _)| means), means);
        // A filter just within its depth has no negation.
        if let (Some(negation), Ok(means)) = (&negation, &means) {
            assert_eq!(negation.check(&document), Ok(!means));
        }
        if let Ok(keys) = &keys {
            let rank = keys.rank(&document);
            assert_eq!(keys.compare(&rank, &rank), std::cmp::Ordering::Equal);
        }
        if let Some(distinct) = &mut distinct {
            let _ = distinct.push(&document);
        }
        if let Ok(projection) = &projection {
            let size = query::document_bytes(&document);
            if let Ok(projected) = projection.apply(document, &filter) {
                assert!(query::document_bytes(&projected) <= size, "a projection adds nothing");
            }
        }
    }
});
