//! The definitions of functions in a chat request, of which OpenAI counts the text and marks of its
//! own, not the JSON: for each function "name:description", for each property
//! "name:type:description", for each value of an enum the value.
//!
//! That is the fit of OpenAI's cookbook, "How to count tokens with tiktoken", section 7. It leaves
//! out what is nested; here a nested property counts like any other.

use super::Request;
use crate::llm::json::{Key, Value};

/// Tokens before the properties of an object, before each property, and for each value of an enum
/// behind its first.
const MARK: u64 = 3;

/// What a place in a definition is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The name of the function.
    Name,
    /// The type of a property.
    Type,
    /// What the function or the property is.
    Description,
    /// The properties of an object.
    Properties,
    /// The schema of a property.
    Property,
    /// The values that are allowed.
    Enum,
    /// One of them.
    EnumItem,
    /// Nothing that is counted.
    Beside,
}

impl Place {
    /// The place of a path inside a definition.
    fn of(path: &[Key]) -> Self {
        match path {
            [Key::Name] => Self::Name,
            [Key::Description] => Self::Description,
            [Key::Parameters, schema @ ..] => Self::in_schema(schema),
            _ => Self::Beside,
        }
    }

    fn in_schema(path: &[Key]) -> Self {
        let mut place = Self::Beside;
        let mut is_in_property = false;
        for key in path {
            place = match (place, key) {
                (Self::Properties, _) => {
                    is_in_property = true;
                    Self::Property
                }
                (Self::Enum, Key::Item) => Self::EnumItem,
                // One of several types.
                (Self::Type, Key::Item) => Self::Type,
                (_, Key::Properties) => Self::Properties,
                // The schema of the parameters is an object that has no name.
                (_, Key::Type) if is_in_property => Self::Type,
                (_, Key::Description) if is_in_property => Self::Description,
                (_, Key::Enum) if is_in_property => Self::Enum,
                _ => Self::Beside,
            };
        }
        place
    }
}

/// What was seen of the object and of the enum that are being read.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    has_property: bool,
    has_value: bool,
}

impl Request {
    /// Takes a value of a definition; the path begins inside of it.
    pub(super) fn function(&mut self, path: &[Key], value: Value<'_>, keeps_text: bool) {
        let place = Place::of(path);
        match (place, value) {
            (Place::Properties, Value::Object) => self.seen.has_property = false,
            (Place::Property, Value::Name(name)) => {
                if !std::mem::replace(&mut self.seen.has_property, true) {
                    self.mark();
                }
                self.mark();
                self.text(name, keeps_text);
                self.input.end_part();
            }
            (Place::Enum, Value::Array) => self.seen.has_value = false,
            (Place::EnumItem, Value::Begin) => self.enum_value(),
            (Place::EnumItem, Value::Number(number)) => {
                self.enum_value();
                self.text(number, keeps_text);
                self.input.end_part();
            }
            (Place::Type | Place::Description, Value::Begin) => self.text(":", keeps_text),
            (
                Place::Name | Place::Type | Place::Description | Place::EnumItem,
                Value::Piece(text),
            ) => self.text(text, keeps_text),
            (Place::Description, Value::End) => self.input.end_sentence(),
            (_, Value::End) => self.input.end_part(),
            _ => {}
        }
    }

    fn enum_value(&mut self) {
        if std::mem::replace(&mut self.seen.has_value, true) {
            self.mark();
        }
    }

    fn mark(&mut self) {
        let marks = &mut self.frame.schema_marks;
        *marks = marks.saturating_add(MARK);
    }
}
