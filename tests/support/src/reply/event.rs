//! One event of a streamed reply, before it is written down for a delivery.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::amazon;
use crate::call::Delivery;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// Name in an `event:` line or in a header of a message, where the API has such.
    name: Option<String>,
    /// What a message of Amazon's tells of.
    kind: amazon::Kind,
    /// Body.
    text: String,
}

impl Event {
    /// An event without a name.
    pub(super) fn new(body: &Value) -> Self {
        Self {
            name: None,
            kind: amazon::Kind::Event,
            text: body.to_string(),
        }
    }

    /// An event whose body repeats its name as `type`.
    pub(super) fn named(name: &str, fields: &Value) -> Self {
        let mut body = json!({"type": name});
        merge(&mut body, fields);
        Self {
            name: Some(name.to_owned()),
            kind: amazon::Kind::Event,
            text: body.to_string(),
        }
    }

    /// An event whose body has its name as `type`, before everything else.
    pub(super) fn of_kind(name: &str, fields: &Value) -> Self {
        let fields = fields.to_string();
        let rest = fields.strip_prefix('{').unwrap_or_default();
        let comma = if rest == "}" { "" } else { "," };
        Self::bare(&format!("{{\"type\":\"{name}\"{comma}{rest}"))
    }

    /// An event whose name stands beside its body alone.
    pub(super) fn typed(name: &str, body: &Value) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..Self::new(body)
        }
    }

    /// The failure that ends a stream of Amazon's.
    pub(super) fn exception(name: &str, body: &Value) -> Self {
        Self {
            kind: amazon::Kind::Exception,
            ..Self::typed(name, body)
        }
    }

    /// Puts further members into the body.
    pub(super) fn merge(&mut self, fields: &Value) {
        if let Ok(mut body) = serde_json::from_str(&self.text) {
            merge(&mut body, fields);
            self.text = body.to_string();
        }
    }

    /// The event as Bedrock hands on a model's own: in base64, in a chunk with padding.
    pub(super) fn in_chunk(&self, padding: &str) -> Self {
        let bytes = STANDARD.encode(&self.text);
        Self::typed("chunk", &json!({"bytes": bytes, "p": padding}))
    }

    /// An event that is no JSON.
    pub(super) fn bare(text: &str) -> Self {
        Self {
            name: None,
            kind: amazon::Kind::Event,
            text: text.to_owned(),
        }
    }
}

/// Writes the events of one reply down, one part each.
pub(super) fn parts(events: &[Event], delivery: Delivery, line_end: &str) -> Vec<Vec<u8>> {
    let part = |(index, event): (usize, &Event)| {
        let text = &event.text;
        let written = match (delivery, &event.name) {
            // WHATWG HTML, section 9.2.
            (Delivery::Events, Some(name)) => {
                format!("event: {name}{line_end}data: {text}{line_end}{line_end}")
            }
            (Delivery::Events, None) => format!("data: {text}{line_end}{line_end}"),
            (Delivery::Elements, _) if index == 0 => format!("[{text}"),
            (Delivery::Elements, _) => format!(",{line_end}{text}"),
            (Delivery::Lines, _) => format!("{text}{line_end}"),
            (Delivery::AmazonMessages, name) => {
                let name = name.as_deref().unwrap_or_default();
                return amazon::message(event.kind, name, text.as_bytes());
            }
            (Delivery::Messages | Delivery::Whole, _) => text.clone(),
        };
        written.into_bytes()
    };
    events.iter().enumerate().map(part).collect()
}

/// Puts the members of `fields` into `target`.
pub(super) fn merge(target: &mut Value, fields: &Value) {
    if let (Some(target), Some(fields)) = (target.as_object_mut(), fields.as_object()) {
        target.extend(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
    }
}
