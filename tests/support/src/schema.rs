//! A value that fits a JSON schema, for the arguments of tools and for answers that must be JSON.

use serde_json::{Map, Value, json};

/// LIMIT: depth of a schema that is followed, 12; what lies deeper is null.
const MAX_DEPTH: usize = 12;

/// LIMIT: items that a schema can demand of an array, 16; more are left out.
const MAX_ITEMS: u64 = 16;

/// A value that fits `schema`, with only what it requires. `choose` may give the value of a
/// property by its name and its own schema.
pub fn instance(schema: &Value, choose: &dyn Fn(&str, &Value) -> Option<Value>) -> Value {
    value(schema, choose, 0)
}

/// Type that a schema names, in lower case: Gemini's schemas have it in capitals.
pub fn type_of(schema: &Value) -> String {
    let name = schema.get("type").and_then(|name| match name {
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|n| *n != "null"),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            name.as_str()
        }
    });
    let implied = if schema.get("properties").is_some() {
        "object"
    } else {
        ""
    };
    name.unwrap_or(implied).to_ascii_lowercase()
}

fn value(schema: &Value, choose: &dyn Fn(&str, &Value) -> Option<Value>, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    let first = |key: &str| schema.get(key)?.as_array()?.first();
    if let Some(constant) = schema.get("const").or_else(|| first("enum")) {
        return constant.clone();
    }
    if let Some(branch) = first("anyOf").or_else(|| first("oneOf")) {
        return value(branch, choose, depth + 1);
    }
    let least = |key: &str| schema.get(key).and_then(Value::as_u64);
    match type_of(schema).as_str() {
        "object" => {
            let names = schema.get("required").and_then(Value::as_array);
            let members: Map<_, _> = names
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .filter_map(|name| {
                    let schema = schema.get("properties")?.get(name)?;
                    let chosen = choose(name, schema);
                    let member = chosen.unwrap_or_else(|| value(schema, choose, depth + 1));
                    Some((name.to_owned(), member))
                })
                .collect();
            Value::Object(members)
        }
        "array" => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let count = least("minItems").unwrap_or(0).min(MAX_ITEMS);
            (0..count)
                .map(|_| value(items, choose, depth + 1))
                .collect()
        }
        "string" => json!("bpftok"),
        "integer" | "number" => json!(least("minimum").unwrap_or(1)),
        "boolean" => json!(false),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(schema: &Value) -> Value {
        instance(schema, &|_, _| None)
    }

    #[test]
    fn an_instance_has_what_is_required_and_no_more() {
        let schema = json!({
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "score": {"type": "integer", "minimum": 5},
                "kind": {"type": ["null", "string"], "enum": ["a", "b"]},
                "parts": {"type": "array", "minItems": 2, "items": {"type": "BOOLEAN"}},
                "left_out": {"type": "string"},
            },
            "required": ["title", "score", "kind", "parts"],
        });
        let expected = json!({"title": "bpftok", "score": 5, "kind": "a", "parts": [false, false]});
        assert_eq!(plain(&schema), expected);
    }

    #[test]
    fn a_property_can_be_chosen_by_its_name() {
        let schema =
            json!({"properties": {"command": {"type": "string"}}, "required": ["command"]});
        let choose = |name: &str, _: &Value| (name == "command").then(|| json!("ls"));
        assert_eq!(instance(&schema, &choose), json!({"command": "ls"}));
    }

    #[test]
    fn a_schema_without_an_end_and_one_without_sense_have_an_instance() {
        let mut deep = json!({"type": "string"});
        for _ in 0..100 {
            deep = json!({"properties": {"a": deep}, "required": ["a"]});
        }
        assert!(plain(&deep).is_object());
        for odd in [
            json!(null),
            json!([1]),
            json!({"type": 7}),
            json!({"required": [1, "x"]}),
        ] {
            assert!(plain(&odd).is_null(), "{odd}");
        }
        let many = json!({"type": "array", "minItems": u64::MAX, "items": {"type": "string"}});
        assert_eq!(plain(&many).as_array().unwrap().len(), 16);
    }
}
