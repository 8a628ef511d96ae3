//! Pipelines: whatever a client writes is refused or answers the same twice.
#![no_main]

use api::{Document, Error};
use fuzz::documents;
use libfuzzer_sys::fuzz_target;
use query::{Pipeline, Run};

fn outcome(mut run: Run<'_>, documents: &[Document]) -> Result<Vec<Document>, Error> {
    for document in documents {
        if !run.push(document.clone())? {
            break;
        }
    }
    run.finish()
}

fuzz_target!(|data: &[u8]| {
    let documents = documents(data);
    let is_stage =
        |document: &&Document| document.keys().next().is_some_and(|name| name.starts_with('$'));
    let stages: Vec<Document> = documents.iter().take_while(is_stage).cloned().collect();
    let Ok(pipeline) = Pipeline::parse(&stages) else { return };
    let documents = &documents[stages.len()..];
    let once = outcome(pipeline.run(), documents);
    let twice = outcome(pipeline.run(), documents);
    match (once, twice) {
        // By text: NaN equals itself there.
        (Ok(once), Ok(twice)) => assert_eq!(format!("{once:?}"), format!("{twice:?}")),
        (once, twice) => assert_eq!(once.err(), twice.err()),
    }
    let _ = pipeline.prefix();
});
