//! MondongoDB's native protocol: one connection for each worker, frames of a 4-byte length and JSON.
//! `--set level=local`: a get reads what the node that is asked has; without, reads are linearizable.
use crate::args::Args;
use crate::target::{Conn, Kind, Op, Reply, Target};
use anyhow::{bail, Context, Result};
use async_trait::async_trait;
use serde_json::{json, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const COLLECTION: &str = "docs";
const ROOM: usize = 16 * 1024;

struct Mondongo {
    local: bool,
}

struct C {
    stream: TcpStream,
    local: bool,
    /// The frame to send.
    out: Vec<u8>,
    /// What was read; frames up to `taken` are done with.
    input: Vec<u8>,
    taken: usize,
}

pub fn make(a: &Args) -> Result<Box<dyn Target>> {
    let local = match a.param("level") {
        None | Some("linearizable") => false,
        Some("local") => true,
        Some(other) => bail!("level is linearizable or local, not {other}"),
    };
    Ok(Box::new(Mondongo { local }))
}

impl C {
    async fn open(addr: &str, local: bool) -> Result<C> {
        let mut stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        // The one exchange with 2-byte lengths.
        let hello = br#"["hello",{"frame":4}]"#;
        let mut out = (hello.len() as u16).to_be_bytes().to_vec();
        out.extend_from_slice(hello);
        stream.write_all(&out).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        result(&answer).context("hello")?;
        Ok(C { stream, local, out: Vec::new(), input: Vec::with_capacity(ROOM), taken: 0 })
    }

    /// Begins a frame; its length comes last.
    fn begin(&mut self, text: &str) {
        self.out.clear();
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn text(&mut self, text: &str) -> Result<()> {
        serde_json::to_writer(&mut self.out, text)?;
        Ok(())
    }

    fn plain(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Sends the frame with one write and waits for the answer, the JSON of its result.
    async fn ask(&mut self) -> Result<&[u8]> {
        let length = (self.out.len() - 4) as u32;
        self.out[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&self.out).await?;
        self.input.drain(..self.taken);
        self.taken = 0;
        loop {
            if let Some(field) = self.input.first_chunk::<4>() {
                let end = 4 + u32::from_be_bytes(*field) as usize;
                if self.input.len() >= end {
                    self.taken = end;
                    break;
                }
            }
            self.input.reserve(ROOM);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the node closed the connection");
            }
        }
        result(&self.input[4..self.taken])
    }

    async fn ask_value(&mut self) -> Result<Value> {
        Ok(serde_json::from_slice(self.ask().await?)?)
    }
}

/// The result within `["ok",result]`; the reason of `["ko",reason]` is an error.
fn result(answer: &[u8]) -> Result<&[u8]> {
    match answer.strip_prefix(br#"["ok","#).and_then(|rest| rest.strip_suffix(b"]")) {
        Some(result) => Ok(result),
        None => bail!("{}", String::from_utf8_lossy(answer)),
    }
}

#[async_trait]
impl Target for Mondongo {
    async fn prepare(&self, kind: Kind, addr: &str) -> Result<()> {
        if kind == Kind::Kv {
            return Ok(());
        }
        let mut c = C::open(addr, self.local).await?;
        c.begin(&json!(["destroy", COLLECTION]).to_string());
        if let Err(error) = c.ask().await {
            if !error.to_string().contains("unknown_collection") {
                return Err(error);
            }
        }
        c.begin(&json!(["create", COLLECTION, {"*email": "str", "*age": "int"}]).to_string());
        c.ask().await?;
        Ok(())
    }

    async fn connect(&self, _: usize, addr: &str) -> Result<Box<dyn Conn>> {
        Ok(Box::new(C::open(addr, self.local).await?))
    }
}

#[async_trait]
impl Conn for C {
    async fn exec(&mut self, op: &Op<'_>) -> Result<Reply> {
        match *op {
            Op::Put { key, val, .. } => {
                self.begin(r#"["write","#);
                self.text(key)?;
                self.plain(",");
                self.text(std::str::from_utf8(val)?)?;
                self.plain("]");
                self.ask().await?;
                Ok(Reply::Done)
            }
            Op::Get { key } => {
                self.begin(r#"["read","#);
                self.text(key)?;
                self.plain(if self.local { r#",{"level":"local"}]"# } else { "]" });
                let value: Option<String> = serde_json::from_slice(self.ask().await?)?;
                Ok(Reply::Value(value.map(String::into_bytes)))
            }
            Op::Insert { doc, .. } => {
                self.begin(r#"["insert","docs","#);
                self.plain(doc);
                self.plain("]");
                self.ask().await?;
                Ok(Reply::Done)
            }
            Op::Update { email, score } => {
                self.begin(r#"["update","docs",{"email":"#);
                self.text(email)?;
                self.plain(&format!(r#"}},{{"$set":{{"score":{score}}}}}]"#));
                let changed = self.ask_value().await?;
                Ok(Reply::Count(changed.as_u64().context("a number of documents")?))
            }
            Op::Find { email } => {
                self.begin(r#"["search","docs",{"email":"#);
                self.text(email)?;
                self.plain("}]");
                found(&self.ask_value().await?)
            }
            Op::Range { lo, hi, limit } => {
                self.begin(&format!(
                    r#"["search","docs",{{"age":{{"$gte":{lo},"$lte":{hi}}}}},{{"sort":{{"age":1}},"limit":{limit}}}]"#
                ));
                found(&self.ask_value().await?)
            }
        }
    }
}

fn found(documents: &Value) -> Result<Reply> {
    let documents = documents.as_array().context("a list of documents")?;
    let whole = documents.iter().filter(|document| document["email"].is_string());
    Ok(Reply::Count(whole.count() as u64))
}
