//! What must be there before: the collection, and the keys and documents that operations find.

use super::content::{self, Content};
use super::mix::Operation;
use super::options::BenchArguments;
use crate::progress::grouped;
use api::{Document, Error, ErrorCode, Request, Value};
use client::Client;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

/// Requests under way while loading.
const LOADERS: u64 = 16;
/// Keys or documents of one request.
const LOAD_BATCH: u64 = 100;
/// Bytes of values in one request, about.
const LOAD_BYTES: u64 = 1 << 20;

/// Keys or documents that are looked for, beside the first and the last, before a measurement that did not load them.
const SAMPLES: u64 = 62;

/// Makes sure that the operations find what they need, and loads it if that was asked for.
///
/// # Errors
/// In words, what is missing or in the way.
pub(crate) async fn prepare(client: &Client, arguments: &BenchArguments) -> Result<(), String> {
    let operations: Vec<Operation> = arguments.operation.operations().collect();
    if operations.iter().any(|operation| operation.is_about_documents()) {
        collection(client, arguments).await?;
    }
    let (documents, keys): (Vec<Operation>, Vec<Operation>) =
        operations.into_iter().partition(|operation| operation.is_about_documents());
    if arguments.preload {
        for (is_wanted, what) in [(!keys.is_empty(), "keys"), (!documents.is_empty(), "documents")]
        {
            if is_wanted {
                load(client, arguments, what).await?;
            }
        }
        return Ok(());
    }
    if keys.into_iter().any(Operation::needs_content) {
        look_for_keys(client, arguments).await?;
    }
    if documents.into_iter().any(Operation::needs_content) {
        look_for_documents(client, arguments).await?;
    }
    Ok(())
}

/// The collection, with the schema that is needed; empty if it is to be loaded.
async fn collection(client: &Client, arguments: &BenchArguments) -> Result<(), String> {
    let name = &arguments.collection;
    match client.describe(Some(name)).await {
        Ok(description) => {
            let schema = description.get_document("schema").ok();
            let schema = schema.and_then(|schema| api::parse::parse_schema(schema).ok());
            if schema != Some(content::schema()) {
                return Err(format!(
                    "the collection {name} is there with another schema than a measurement needs; \
                     name another one with --collection"
                ));
            }
            if !arguments.preload {
                return Ok(());
            }
            client.destroy(name).await.map_err(|error| error.to_string())?;
        }
        Err(error) if error.code == ErrorCode::UnknownCollection => {}
        Err(error) => return Err(error.to_string()),
    }
    client.create(name, content::schema()).await.map_err(|error| error.to_string())
}

/// The first, the last, and some between, by lot.
fn samples(arguments: &BenchArguments) -> Vec<u64> {
    let mut rng = fastrand::Rng::with_seed(arguments.seed);
    let lots = (0..SAMPLES).map(|_| rng.u64(..arguments.keys));
    [0, arguments.keys - 1].into_iter().chain(lots).collect()
}

async fn look_for_keys(client: &Client, arguments: &BenchArguments) -> Result<(), String> {
    let content = Content::new(arguments.value_bytes as usize);
    for number in samples(arguments) {
        let key = content::key(number);
        let value = client.read(&key).await.map_err(|error| error.to_string())?;
        if let Some(wrong) = content.wrong_value(&key, &value) {
            return Err(format!(
                "{wrong}: the operations need {} keys with values of {} bytes; write them with --preload",
                grouped(arguments.keys),
                arguments.value_bytes
            ));
        }
    }
    Ok(())
}

async fn look_for_documents(client: &Client, arguments: &BenchArguments) -> Result<(), String> {
    for number in samples(arguments) {
        let email = content::email(number);
        let filter = Document::from_iter([("email".to_string(), email.as_str().into())]);
        let count =
            client.count(&arguments.collection, filter).await.map_err(|error| error.to_string())?;
        if count != 1 {
            return Err(format!(
                "{count} documents of {} have the email {email}, not one: the operations need {} documents; \
                 insert them with --preload",
                arguments.collection,
                grouped(arguments.keys)
            ));
        }
    }
    Ok(())
}

async fn load(
    client: &Client,
    arguments: &BenchArguments,
    what: &'static str,
) -> Result<(), String> {
    let begun = Instant::now();
    let quiet = arguments.quiet || arguments.json;
    let bar = (!quiet && io::stderr().is_terminal()).then(|| {
        let bar = ProgressBar::with_draw_target(Some(arguments.keys), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(format!("loading {what}"));
        bar
    });
    let bytes = if what == "keys" { arguments.value_bytes } else { 256 };
    let step = (LOAD_BYTES / bytes).clamp(1, LOAD_BATCH);
    let content = Arc::new(Content::new(arguments.value_bytes as usize));
    let next = Arc::new(AtomicU64::new(0));
    let mut loaders = JoinSet::new();
    for loader in 0..LOADERS {
        let (client, content, next) = (client.clone(), Arc::clone(&content), Arc::clone(&next));
        let (collection, bar) = (arguments.collection.clone(), bar.clone());
        let (keys, seed) = (arguments.keys, arguments.seed ^ loader);
        loaders.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            loop {
                let first = next.fetch_add(step, Ordering::Relaxed);
                if first >= keys {
                    return Ok(());
                }
                let numbers = first..(first + step).min(keys);
                let count = numbers.end - numbers.start;
                let request = match what {
                    "keys" => {
                        let write = |number| {
                            let key = content::key(number);
                            let value = Value::String(content.value(&key, &mut rng));
                            Request::Write { key, value }
                        };
                        Request::Batch { requests: numbers.map(write).collect() }
                    }
                    _ => {
                        let document = |number| content.document(number, content::email(number));
                        let documents = numbers.map(document).collect();
                        Request::Insert { collection: collection.clone(), documents, list: true }
                    }
                };
                client.request(request).await?;
                if let Some(bar) = &bar {
                    bar.inc(count);
                }
            }
        });
    }
    while let Some(ended) = loaders.join_next().await {
        let ended: Result<(), Error> = ended.map_err(|error| error.to_string())?;
        ended.map_err(|error| format!("loading {what}: {error}"))?;
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if !quiet {
        let seconds = begun.elapsed().as_secs_f64();
        let rate = grouped((arguments.keys as f64 / seconds).round() as u64);
        eprintln!("{} {what} loaded in {seconds:.1} s, {rate}/s", grouped(arguments.keys));
    }
    Ok(())
}
