//! What the program says with `--json`: each line is an event that the schema in docs/ allows.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

use super::{Output, PATIENCE, Process, wait_until};

fn schema() -> &'static (Value, Validator) {
    static SCHEMA: OnceLock<(Value, Validator)> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.schema.json");
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).expect("the schema itself is one");
        (schema, validator)
    })
}

/// Demands that `line` is an event, and one that the schema tells all about.
#[track_caller]
pub fn event(line: &str) -> Value {
    let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line:?}"));
    let (schema, validator) = schema();
    let kind = event["event"].as_str().unwrap_or_else(|| panic!("an event without its kind: {line}"));
    // Its own part of the schema says what is wrong; the whole says only that none of them fits.
    let own = serde_json::json!({ "$ref": format!("#/$defs/{kind}"), "$defs": schema["$defs"] });
    if let Err(error) = jsonschema::validator_for(&own).unwrap().validate(&event) {
        panic!("{error} (at {}): {line}", error.instance_path());
    }
    assert!(validator.is_valid(&event), "not exactly one of the events: {line}");
    for field in event.as_object().unwrap().keys() {
        let known = schema["$defs"][kind]["properties"].get(field).is_some();
        assert!(known, "the schema does not know {field:?} of {kind}: {line}");
    }
    event
}

/// Demands that all of `stdout` is events, each on a line of its own.
#[track_caller]
pub fn events(stdout: &[u8]) -> Vec<Value> {
    super::assert_harmless(stdout, "an event");
    let text = std::str::from_utf8(stdout).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end: {text:?}");
    text.lines().map(event).collect()
}

/// The kinds of these events without progress, which comes when it comes.
pub fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().map(|event| event["event"].as_str().unwrap());
    kinds.filter(|kind| *kind != "progress").collect()
}

/// Those of one kind.
pub fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

impl Output {
    /// All that it said, which has to be events; the last of them ends it with its exit code.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let events = events(&self.stdout);
        let last = events.last().unwrap_or_else(|| panic!("no events: {self:?}"));
        assert!(matches!(last["event"].as_str(), Some("done" | "error")), "not an end: {last}");
        assert_eq!(last["code"].as_i64(), self.code.map(i64::from), "{self:?}");
        events
    }
}

impl Process {
    /// The events that it has written so far.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let mut bytes = self.stdout.bytes();
        bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1));
        events(&bytes)
    }

    /// Waits for the nth event of a kind.
    #[track_caller]
    pub fn wait_for_event(&self, kind: &str, n: usize) -> Value {
        wait_until(&format!("there are {n} events {kind:?}"), PATIENCE, || {
            of_kind(&self.events(), kind).len() >= n
        });
        of_kind(&self.events(), kind)[n - 1].clone()
    }
}
