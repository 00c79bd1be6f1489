//! One event of a streamed reply, before it is written down for a delivery.

use serde_json::{Value, json};

use crate::call::Delivery;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// Name in an `event:` line, where the API has such lines.
    name: Option<String>,
    /// Body.
    text: String,
}

impl Event {
    /// An event without a name.
    pub(super) fn new(body: &Value) -> Self {
        Self {
            name: None,
            text: body.to_string(),
        }
    }

    /// An event whose body repeats its name as `type`.
    pub(super) fn named(name: &str, fields: &Value) -> Self {
        let mut body = json!({"type": name});
        merge(&mut body, fields);
        Self {
            name: Some(name.to_owned()),
            text: body.to_string(),
        }
    }

    /// An event that is no JSON.
    pub(super) fn bare(text: &str) -> Self {
        Self {
            name: None,
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
