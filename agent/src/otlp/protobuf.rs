//! Messages in OTLP's protobuf, of what they are in OTLP's JSON: every receiver has to take the former,
//! and of the latter many take only parts. Numbers and types of fields are those of `opentelemetry-proto`,
//! version 1 (`trace.proto`, `metrics.proto`, `common.proto`, `resource.proto`), as far as they are told.

use serde_json::Value;

/// A field's name in JSON, its number, and how its value is written.
pub(super) type Field = (&'static str, u64, Kind);

/// How a value is written. A list in JSON is a field that is repeated, except in those that are packed.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes, which are hexadecimal digits in JSON.
    Id,
    Flag,
    /// A number of variable length, of an enumeration too.
    Integer,
    /// Eight bytes of a whole number.
    Fixed,
    Double,
    PackedFixed,
    PackedDouble,
    Message(&'static [Field]),
}

use Kind::{Double, Fixed, Flag, Id, Integer, Message, PackedDouble, PackedFixed, Text};

/// `ExportTraceServiceRequest`.
pub(super) const TRACES: &[Field] = &[("resourceSpans", 1, Message(RESOURCE_SPANS))];

/// `ExportMetricsServiceRequest`.
pub(super) const METRICS: &[Field] = &[("resourceMetrics", 1, Message(RESOURCE_METRICS))];

const RESOURCE_SPANS: &[Field] = &[
    ("resource", 1, Message(RESOURCE)),
    ("scopeSpans", 2, Message(SCOPE_SPANS)),
];

const RESOURCE_METRICS: &[Field] = &[
    ("resource", 1, Message(RESOURCE)),
    ("scopeMetrics", 2, Message(SCOPE_METRICS)),
];

const RESOURCE: &[Field] = &[("attributes", 1, Message(KEY_VALUE))];

const SCOPE_SPANS: &[Field] = &[("scope", 1, Message(SCOPE)), ("spans", 2, Message(SPAN))];

const SCOPE_METRICS: &[Field] = &[
    ("scope", 1, Message(SCOPE)),
    ("metrics", 2, Message(METRIC)),
];

const SCOPE: &[Field] = &[("name", 1, Text), ("version", 2, Text)];

const KEY_VALUE: &[Field] = &[("key", 1, Text), ("value", 2, Message(ANY_VALUE))];

const ANY_VALUE: &[Field] = &[
    ("stringValue", 1, Text),
    ("boolValue", 2, Flag),
    ("intValue", 3, Integer),
    ("doubleValue", 4, Double),
    ("arrayValue", 5, Message(ARRAY_VALUE)),
];

/// Lists of texts are the only ones that are told.
const ARRAY_VALUE: &[Field] = &[("values", 1, Message(&[("stringValue", 1, Text)]))];

const SPAN: &[Field] = &[
    ("traceId", 1, Id),
    ("spanId", 2, Id),
    ("name", 5, Text),
    ("kind", 6, Integer),
    ("startTimeUnixNano", 7, Fixed),
    ("endTimeUnixNano", 8, Fixed),
    ("attributes", 9, Message(KEY_VALUE)),
    ("status", 15, Message(&[("code", 3, Integer)])),
];

const METRIC: &[Field] = &[
    ("name", 1, Text),
    ("unit", 3, Text),
    ("sum", 7, Message(SUM)),
    ("histogram", 9, Message(HISTOGRAM)),
];

const SUM: &[Field] = &[
    ("dataPoints", 1, Message(NUMBER_POINT)),
    ("aggregationTemporality", 2, Integer),
    ("isMonotonic", 3, Flag),
];

const HISTOGRAM: &[Field] = &[
    ("dataPoints", 1, Message(HISTOGRAM_POINT)),
    ("aggregationTemporality", 2, Integer),
];

const NUMBER_POINT: &[Field] = &[
    ("attributes", 7, Message(KEY_VALUE)),
    ("startTimeUnixNano", 2, Fixed),
    ("timeUnixNano", 3, Fixed),
    ("asInt", 6, Fixed),
];

const HISTOGRAM_POINT: &[Field] = &[
    ("attributes", 9, Message(KEY_VALUE)),
    ("startTimeUnixNano", 2, Fixed),
    ("timeUnixNano", 3, Fixed),
    ("count", 4, Fixed),
    ("sum", 5, Double),
    ("bucketCounts", 6, PackedFixed),
    ("explicitBounds", 7, PackedDouble),
];

/// Types of fields on the wire.
const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const LENGTH: u64 = 2;

/// A message of these fields.
pub(super) fn encode(fields: &[Field], message: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, number, kind) in fields {
        match (kind, message.get(name)) {
            (_, None) => {}
            (PackedFixed | PackedDouble, Some(value)) => write(&mut out, *number, *kind, value),
            (_, Some(Value::Array(values))) => {
                for value in values {
                    write(&mut out, *number, *kind, value);
                }
            }
            (_, Some(value)) => write(&mut out, *number, *kind, value),
        }
    }
    out
}

fn write(out: &mut Vec<u8>, number: u64, kind: Kind, value: &Value) {
    let packed = |bytes: fn(&Value) -> [u8; 8]| {
        let values = value.as_array().into_iter().flatten();
        values.flat_map(bytes).collect::<Vec<u8>>()
    };
    match kind {
        Text => delimited(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Id => delimited(out, number, &bytes_of(value.as_str().unwrap_or_default())),
        Flag => {
            varint(out, (number << 3) | VARINT);
            varint(out, u64::from(value.as_bool().unwrap_or_default()));
        }
        Integer => {
            varint(out, (number << 3) | VARINT);
            varint(out, whole(value));
        }
        Fixed => {
            varint(out, (number << 3) | EIGHT_BYTES);
            out.extend(whole(value).to_le_bytes());
        }
        Double => {
            varint(out, (number << 3) | EIGHT_BYTES);
            out.extend(double(value));
        }
        PackedFixed => delimited(out, number, &packed(|value| whole(value).to_le_bytes())),
        PackedDouble => delimited(out, number, &packed(double)),
        Message(fields) => delimited(out, number, &encode(fields, value)),
    }
}

fn delimited(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, (number << 3) | LENGTH);
    varint(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend(bytes);
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// A whole number, which JSON has as a string where it may be large.
fn whole(value: &Value) -> u64 {
    let number = value.as_u64();
    number
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_default()
}

fn double(value: &Value) -> [u8; 8] {
    value.as_f64().unwrap_or_default().to_le_bytes()
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .filter_map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_has_the_bytes_that_protobuf_gives_it() {
        let message = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
            "traceId": "0aff",
            "name": "chat",
            "kind": 3,
            "startTimeUnixNano": "258",
            "attributes": [{"key": "n", "value": {"intValue": "300"}}],
            "status": {},
        }]}]}]});
        let span = [
            &[0x0a, 2, 0x0a, 0xff][..],
            &[0x2a, 4],
            b"chat",
            &[0x30, 3],
            &[0x39, 2, 1, 0, 0, 0, 0, 0, 0],
            // Key, and a value of 300.
            &[0x4a, 8, 0x0a, 1, b'n', 0x12, 3, 0x18, 0xac, 0x02],
            &[0x7a, 0],
        ]
        .concat();
        let mut whole = vec![0x0a, 37, 0x12, 35, 0x12, 33];
        whole.extend(span);
        assert_eq!(encode(TRACES, &message), whole);
        let point = json!({"bucketCounts": ["1", "0"], "explicitBounds": [1.0]});
        let packed = [
            &[0x32, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x3a, 8, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
        ]
        .concat();
        assert_eq!(encode(HISTOGRAM_POINT, &point), packed);
    }

    /// Names in `message` that no field of `fields` has.
    fn unknown(fields: &[Field], message: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in message.as_object().into_iter().flatten() {
            let kind = fields.iter().find(|(field, ..)| field == name);
            match (kind, value) {
                (None, _) => found.push(name.clone()),
                (Some((.., Message(inner))), Value::Array(values)) => {
                    found.extend(values.iter().flat_map(|value| unknown(inner, value)));
                }
                (Some((.., Message(inner))), value) => found.extend(unknown(inner, value)),
                (Some(_), _) => {}
            }
        }
        found
    }

    #[test]
    fn nothing_that_is_told_in_json_is_left_out() {
        let golden = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let traces = golden(include_str!("../../../tests/e2e/golden/otlp_traces.json"));
        let metrics = golden(include_str!("../../../tests/e2e/golden/otlp_metrics.json"));
        assert_eq!(unknown(TRACES, &traces), [""; 0]);
        assert_eq!(unknown(METRICS, &metrics), [""; 0]);
    }
}
