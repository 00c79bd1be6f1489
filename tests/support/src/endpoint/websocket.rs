//! One WebSocket: its opening, and the calls that come over it.

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;
use tungstenite::handshake::derive_accept_key;

use super::Shared;
use super::answer::{Origin, Pending};
use super::deflate::Deflate;
use super::frames::Frames;
use crate::call::{Call, parameter};
use crate::plan::{Encoding, Plan};
use crate::reply::{Ending, model_served, realtime_session};
use crate::request::Request;
use crate::served::{Api, Protocol};

/// LIMIT: items that a conversation remembers, 10,000; past that the script of an agent forgets
/// what was before.
const MAX_ITEMS: usize = 10_000;

/// Answers the calls of one connection. `rest` was read behind its opening. Messages are
/// compressed where the client offers it and the plan says `deflate`.
pub(super) async fn converse<S>(
    mut stream: S,
    rest: Vec<u8>,
    head: &Request,
    api: Api,
    plan: &Plan,
    origin: Origin,
    shared: &Shared,
) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = head.field("sec-websocket-key").context("no key")?;
    let offers = head.field("sec-websocket-extensions").unwrap_or_default();
    let accepted = if plan.encoding == Encoding::Deflate {
        Deflate::accept(offers)
    } else {
        None
    };
    let (deflate, extension) = match accepted {
        Some((deflate, answer)) => (
            Some(deflate),
            format!("sec-websocket-extensions: {answer}\r\n"),
        ),
        None => (None, String::new()),
    };
    let opening = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {}\r\n{extension}\r\n",
        derive_accept_key(key.as_bytes()),
    );
    stream.write_all(opening.as_bytes()).await?;
    stream.flush().await?;
    let protocol = if deflate.is_some() {
        Protocol::WebSocketDeflate
    } else {
        Protocol::WebSocket
    };
    let origin = Origin { protocol, ..origin };
    let seed = u64::from(origin.client_port);
    let mut conversation = Conversation {
        frames: Frames::new(stream, rest, deflate, plan.split, seed),
        head,
        plan,
        origin,
        shared,
        items: Vec::new(),
        last_id: None,
    };
    if api == Api::OpenAiRealtime {
        conversation.realtime().await
    } else {
        conversation.responses().await
    }
}

/// What a connection is about.
struct Conversation<'a, S> {
    frames: Frames<S>,
    head: &'a Request,
    plan: &'a Plan,
    origin: Origin,
    shared: &'a Shared,
    /// Items of the conversation so far: a client sends only what is new.
    items: Vec<Value>,
    /// Id of the last response.
    last_id: Option<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, S> {
    /// OpenAI responses: each `response.create` is a call with the body of a POST.
    async fn responses(&mut self) -> anyhow::Result<()> {
        while let Some(message) = self.next().await? {
            if kind(&message) != "response.create" {
                continue;
            }
            let previous = message.get("previous_response_id").and_then(Value::as_str);
            if previous.is_none() || previous != self.last_id.as_deref() {
                self.items.clear();
            }
            let new = match message.get("input") {
                Some(Value::Array(items)) => items.clone(),
                Some(Value::String(text)) => vec![json!({"role": "user", "content": text})],
                _ => Vec::new(),
            };
            let call = Call::by_message(Api::OpenAiResponses, None, message, self.items.clone());
            let pending = self.begin(&call);
            self.last_id = pending.id().map(str::to_owned);
            self.items.extend(new);
            // As far as the script cares, this is what the model said.
            self.items.push(json!({"role": "assistant"}));
            if self.items.len() > MAX_ITEMS {
                self.items.clear();
            }
            if !self.serve(pending).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// OpenAI realtime: items come one by one, and `response.create` asks for an answer to them.
    async fn realtime(&mut self) -> anyhow::Result<()> {
        let query = self
            .head
            .target
            .split_once('?')
            .map_or("", |(_, query)| query);
        let model = parameter(query, "model").map(str::to_owned);
        let served = model_served(model.as_deref(), self.plan);
        self.send(&realtime_session("session.created", &served))
            .await?;
        while let Some(message) = self.next().await? {
            match kind(&message) {
                "session.update" => {
                    self.send(&realtime_session("session.updated", &served))
                        .await?;
                }
                "conversation.item.create" if self.items.len() < MAX_ITEMS => {
                    let item = message.get("item").unwrap_or(&Value::Null);
                    self.items.push(item.clone());
                    let answer = json!({
                        "type": "conversation.item.added",
                        "event_id": "event_item",
                        "previous_item_id": null,
                        "item": item,
                    });
                    self.send(&answer).await?;
                }
                "response.create" => {
                    let body = json!({"input": self.items});
                    let call =
                        Call::by_message(Api::OpenAiRealtime, model.as_deref(), body, Vec::new());
                    let pending = self.begin(&call);
                    if !self.serve(pending).await? {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The next message; null for one that is no JSON, which is left out as every unknown one is.
    async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        let message = self.frames.receive().await?;
        Ok(message.map(|text| serde_json::from_slice(&text).unwrap_or_default()))
    }

    async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        self.frames.send(message.to_string().as_bytes()).await
    }

    fn begin(&self, call: &Call) -> Pending {
        self.shared.begin(call, self.plan, self.head, self.origin)
    }

    /// Sends the events of one answer; false where the plan drops the connection behind them.
    async fn serve(&mut self, mut pending: Pending) -> anyhow::Result<bool> {
        let parts = std::mem::take(&mut pending.reply.parts);
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                sleep(self.plan.delay).await;
            }
            if index == last {
                pending.ends(self.shared)?;
            }
            if let Err(error) = self.frames.send(part).await {
                pending.breaks(self.shared)?;
                return Err(error);
            }
        }
        Ok(pending.reply.ending == Ending::Whole)
    }
}

fn kind(message: &Value) -> &str {
    message
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}
