//! How far an import is, in a file beside its input (format in `docs/design/import.md`).

use super::batches::{Cut, Reached};
use super::records::Place;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// The version of the file.
const FORMAT_VERSION: u64 = 1;

/// How far an import is, and all by which it can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The client of its references, and the beginning of the `_id`s that it makes.
    pub(crate) import: uuid::Uuid,
    /// What it imports, where to and how; another import must not go on with this state.
    pub(crate) about: About,
    /// How the input is cut.
    pub(crate) cut: Cut,
    /// The columns of CSV.
    pub(crate) columns: Vec<String>,
    /// Everything before this is done.
    pub(crate) reached: Reached,
    /// What became of it.
    pub(crate) counts: Counts,
    /// How long the file of rejected lines was.
    pub(crate) rejected_bytes: u64,
}

/// What an import imports, where to and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// The group.
    pub(crate) cluster: String,
    /// The collection.
    pub(crate) collection: String,
    /// By what the input is known again.
    pub(crate) input: String,
    /// Format, delimiter, what becomes of duplicates, and so on.
    pub(crate) settings: String,
}

/// What became of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// In the collection.
    pub(crate) taken: u64,
    /// Passed over, because they were there.
    pub(crate) skipped: u64,
    /// In the file of rejected lines.
    pub(crate) rejected: u64,
}

impl Counts {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.taken + self.skipped + self.rejected
    }
}

impl State {
    /// Reads the file; none if there is none.
    ///
    /// # Errors
    /// In words: it cannot be read, or is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<State>, String> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match value["format"].as_u64() {
            Some(FORMAT_VERSION) => {}
            Some(found) => {
                return Err(format!("it has format {found}, this program knows {FORMAT_VERSION}"));
            }
            None => return Err("it names no format".into()),
        }
        State::from_json(&value).map(Some).ok_or_else(|| "something in it is missing".into())
    }

    fn from_json(value: &Value) -> Option<State> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let columns = value["columns"].as_array()?.iter().map(text).collect::<Option<_>>()?;
        let (cut, reached, counts) = (&value["cut"], &value["reached"], &value["counts"]);
        Some(State {
            import: value["import"].as_str()?.parse().ok()?,
            about: About {
                cluster: text(&value["cluster"])?,
                collection: text(&value["collection"])?,
                input: text(&value["input"])?,
                settings: text(&value["settings"])?,
            },
            cut: Cut { records_max: cut["records"].as_u64()?, bytes_max: cut["bytes"].as_u64()? },
            columns,
            reached: Reached {
                place: Place {
                    bytes: reached["bytes"].as_u64()?,
                    lines: reached["lines"].as_u64()?,
                },
                records: reached["records"].as_u64()?,
            },
            counts: Counts {
                taken: counts["taken"].as_u64()?,
                skipped: counts["skipped"].as_u64()?,
                rejected: counts["rejected"].as_u64()?,
            },
            rejected_bytes: value["rejected_bytes"].as_u64()?,
        })
    }

    /// Writes the file as a whole and durably: after a crash the old or the new one is there.
    ///
    /// # Errors
    /// Trouble of the disk.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let mut file = File::create(&new)?;
        writeln!(file, "{:#}", self.to_json())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn to_json(&self) -> Value {
        json!({
            "format": FORMAT_VERSION,
            "import": self.import.to_string(),
            "cluster": self.about.cluster,
            "collection": self.about.collection,
            "input": self.about.input,
            "settings": self.about.settings,
            "cut": { "records": self.cut.records_max, "bytes": self.cut.bytes_max },
            "columns": self.columns,
            "reached": {
                "bytes": self.reached.place.bytes,
                "lines": self.reached.place.lines,
                "records": self.reached.records,
            },
            "counts": {
                "taken": self.counts.taken,
                "skipped": self.counts.skipped,
                "rejected": self.counts.rejected,
            },
            "rejected_bytes": self.rejected_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            import: uuid::Uuid::from_u128(7),
            about: About {
                cluster: "c".into(),
                collection: "users".into(),
                input: "i".into(),
                settings: "s".into(),
            },
            cut: Cut { records_max: 5, bytes_max: 6 },
            columns: vec!["a".into()],
            reached: Reached { place: Place { bytes: 1, lines: 2 }, records: 3 },
            counts: Counts { taken: 1, skipped: 1, rejected: 1 },
            rejected_bytes: 9,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.import-state");
        assert_eq!(State::read(&path), Ok(None));
        state().write(&path).expect("written");
        assert_eq!(State::read(&path), Ok(Some(state())));
    }

    #[test]
    fn what_is_no_state_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        for (text, part) in [
            ("", "EOF"),
            ("{}", "no format"),
            ("{\"format\":2}", "format 2"),
            ("{\"format\":1,\"import\":\"x\"}", "missing"),
        ] {
            fs::write(&path, text).expect("written");
            let error = State::read(&path).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}
