//! The documents of reports, held against the schema that is published.

use serde_json::Value;

use crate::insight::{two_months, wasteful};
use crate::usage::{DIMENSIONS, document, ledger, some_calls, two_weeks};
use crate::world::Home;

/// The schema, and what is wrong with documents.
pub(crate) struct Schema(jsonschema::Validator);

impl Schema {
    pub(crate) fn published() -> Self {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json");
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        Self(jsonschema::validator_for(&schema).unwrap())
    }

    /// Holds a document against it.
    #[track_caller]
    pub(crate) fn hold(&self, document: &Value, of: &str) {
        let wrong: Vec<String> = self
            .0
            .iter_errors(document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(wrong, Vec::<String>::new(), "{of}");
    }

    /// Whether a document is one of those that it describes.
    pub(crate) fn allows(&self, document: &Value) -> bool {
        self.0.is_valid(document)
    }

    /// The document of a command, which has to be what the schema says.
    #[track_caller]
    fn check(&self, home: &Home, arguments: &[&str]) -> Value {
        let found = document(home, arguments);
        self.hold(&found, &arguments.join(" "));
        found
    }
}

const NOVEMBER: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-12-01"];

fn ledgers() -> [Home; 6] {
    [
        ledger(&some_calls(5, 120, "2026-11-01T00:00:00Z")),
        crate::world::mixed(),
        two_weeks(),
        Home::with(&[]),
        two_months(),
        wasteful(),
    ]
}

#[test]
fn the_documents_are_what_the_published_schema_says() {
    let schema = Schema::published();
    for home in &ledgers() {
        for by in DIMENSIONS
            .map(|(dimension, _)| dimension)
            .into_iter()
            .chain(["hour", "day", "week", "month", "day,model", "process,user"])
        {
            let arguments = [&["report", "--by", by, "--top", "1"][..], &NOVEMBER].concat();
            schema.check(home, &arguments);
        }
        let weighted = [
            "weekly",
            "--metric",
            "weighted-tokens",
            "--where",
            "repo!=shop",
        ];
        schema.check(home, &weighted);
        schema.check(home, &["daily"]);
        schema.check(home, &["monthly"]);
        schema.check(home, &["sessions", "--since", "2026-11-01"]);
    }
    let mixed = crate::world::mixed();
    let show = ["sessions", "show", "8f31", "--tree", "--context"];
    schema.check(&mixed, &show);
    schema.check(&mixed, &["sessions", "show", "8f31"]);
}

#[test]
fn the_documents_on_spend_are_what_the_published_schema_says() {
    let schema = Schema::published();
    for home in &ledgers() {
        for filters in [
            &[][..],
            &["--where", "task!=chat"],
            &["--where", "user=nobody"],
        ] {
            for command in [
                &["waste"][..],
                &["explain"],
                &["explain", "--vs", "previous month"],
            ] {
                schema.check(home, &[command, filters, &NOVEMBER].concat());
            }
        }
        for month in ["2026-10", "2026-11", "2020-01"] {
            let index = home.run(["index", "--month", month, "-o", "json"]);
            assert_eq!(index.err, "");
            let index: Value = serde_json::from_str(&index.out).unwrap();
            schema.hold(&index, month);
        }
    }
}

#[test]
fn the_schema_says_enough_to_tell_a_wrong_document() {
    let schema = Schema::published();
    let mixed = crate::world::mixed();
    let report = schema.check(&mixed, &["report", "--since", "2026-11-01"]);
    let waste = schema.check(&wasteful(), &[&["waste"][..], &NOVEMBER].concat());
    let vs = ["explain", "--vs", "2026-10"];
    let explain = schema.check(&two_months(), &[&vs[..], &NOVEMBER].concat());
    let is_right = |document: &Value, change: &dyn Fn(&mut Value)| {
        let mut document = document.clone();
        change(&mut document);
        schema.0.is_valid(&document)
    };
    let without = |pointer: &'static str, name: &'static str| {
        move |document: &mut Value| {
            let object = document.pointer_mut(pointer).unwrap();
            object.as_object_mut().unwrap().remove(name).unwrap();
        }
    };
    assert!(is_right(&report, &|_| {}));
    assert!(!is_right(&report, &|found| found["rows"][0]["requests"] = Value::Null));
    assert!(!is_right(&report, &without("/totals", "cost_nanousd")));
    assert!(!is_right(&waste, &|found| found["rows"][0]["kind"] = "gossip".into()));
    assert!(!is_right(&waste, &without("/unknown", "untold_requests")));
    assert!(!is_right(&explain, &|found| found["rows"][0]["part"] = "luck".into()));
    assert!(!is_right(&explain, &without("/now", "untold_requests")));
}
