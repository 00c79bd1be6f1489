//! What is gathered from a reply, whole or in events.

use super::{Api, Calls, Word, without_fraction};
use crate::llm::json::{Key, Value};
use crate::llm::quota::{Limit, Told};
use crate::llm::usage::{Counts, Side};
use crate::llm::{CountedText, SubInference, SubKind, Terms, Usage};

/// How a reply is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::llm) enum Form {
    /// One event of a stream.
    Event,
    /// One JSON text.
    Body,
}

/// The end of a reply, as the provider says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::llm) enum Terminal {
    /// The answer is whole.
    Complete,
    /// It failed.
    Error,
    /// The model goes on in the background: this answer has no result yet.
    Pending,
}

/// What a reply said so far.
#[derive(Default)]
pub(in crate::llm) struct Reply {
    /// The API that its shape tells, where the head of the request did not.
    pub(in crate::llm) api: Option<&'static Api>,
    /// Id of the response.
    pub(in crate::llm) id: Word<256>,
    /// Model that answers.
    pub(in crate::llm) model: Word<256>,
    /// Why it stopped.
    pub(in crate::llm) stop: Word<64>,
    /// Text of the answer.
    pub(in crate::llm) output: CountedText,
    /// Counters that hold so far.
    pub(in crate::llm) counts: Counts,
    /// Service tier that was served.
    pub(in crate::llm) tier: Word<64>,
    /// Speed that was served.
    pub(in crate::llm) speed: Word<64>,
    /// Region where the model ran.
    pub(in crate::llm) region: Word<64>,
    /// What the provider ran beside.
    pub(in crate::llm) sub_inferences: Vec<SubInference>,
    /// True if it holds reasoning that is sealed, of which at most a summary is shown.
    pub(in crate::llm) has_hidden_reasoning: bool,
    /// True if the counters were final when they came, and nothing was missed since.
    pub(in crate::llm) is_final: bool,
    /// True once it said that it is over, and may still say what it used.
    pub(in crate::llm) has_ended: bool,
    /// True once it said that it failed, and may still say what it used.
    pub(in crate::llm) has_failed: bool,
    /// Limits that its last event about them told.
    pub(in crate::llm) limits: Vec<Limit>,
    /// Counters that were refused.
    pub(in crate::llm) refused: u64,
    /// Counters of sub-inferences by another model, which no column holds.
    pub(in crate::llm) unrecorded: u64,
    /// Tools that it asks for.
    pub(in crate::llm) calls: Calls,
    /// The event or body that is being read.
    pub(in crate::llm) part: Part,
    /// False where memory for texts is used up.
    pub(in crate::llm) keeps_text: bool,
}

/// What one event, or the body, said.
#[derive(Default)]
pub(in crate::llm) struct Part {
    /// Name of the event, or the `type` member, which goes first.
    pub(in crate::llm) kind: Word<64>,
    /// State of the response.
    pub(in crate::llm) status: Word<64>,
    /// Counters.
    pub(in crate::llm) counts: Counts,
    /// Kind and counters of the part of them that is being read.
    pub(in crate::llm) pass: (Word<64>, Counts),
    /// What it says of limits.
    pub(in crate::llm) told: Option<Box<Told>>,
    /// Model that answered in place of the one that was asked.
    pub(in crate::llm) stand_in: Word<256>,
    /// What the provider ran beside, as far as it is known.
    pub(in crate::llm) sub_inferences: Vec<SubInference>,
    /// Model and counters of what the provider ran beside and that is being read.
    pub(in crate::llm) beside: (Word<256>, Counts),
    /// Type of the item or tool that is being read, and what it does, or its model.
    pub(in crate::llm) item: (Word<64>, Word<256>),
    /// Things that were counted one by one: searches, pictures.
    pub(in crate::llm) things: u64,
    /// Model that makes pictures beside.
    pub(in crate::llm) image_model: Word<256>,
    /// True for a line that is a result of a batch.
    pub(in crate::llm) is_result: bool,
    /// Id of that line.
    pub(in crate::llm) line_id: Word<256>,
    /// Status of that result.
    pub(in crate::llm) code: Option<u16>,
    /// True if it says that it is the last.
    pub(in crate::llm) has_end: bool,
    /// True if it has an `error`.
    pub(in crate::llm) has_error: bool,
    /// True if it has text of the answer.
    pub(in crate::llm) has_output: bool,
    /// True for a body: its strings are texts by themselves, while those of events go on.
    pub(in crate::llm) is_body: bool,
    /// True for an element of a body that is a stream.
    pub(in crate::llm) is_element: bool,
}

impl Reply {
    /// Begins an event of that name, or a body.
    pub(in crate::llm) fn begin(&mut self, name: &str, form: Form) {
        self.part = Part {
            is_body: form == Form::Body,
            ..Part::default()
        };
        self.part.kind.set(name);
    }

    /// Takes a value of the event or body that is being read.
    pub(in crate::llm) fn value(&mut self, api: &Api, path: &[Key], value: Value<'_>) {
        (api.value)(self, path, value);
        self.calls.value(self.part.kind.as_str(), path, value);
    }

    /// Ends the event or body; says if the reply is over, too.
    pub(in crate::llm) fn settle(&mut self, api: &Api, form: Form) -> Option<Terminal> {
        self.calls.end_event(self.part.kind.as_str());
        (api.settle)(self, form)
    }

    /// Whether the provider made a long context short beside the answer.
    pub(in crate::llm) fn compacts(&self) -> bool {
        let is_compaction = |sub: &SubInference| sub.kind == SubKind::Compaction;
        self.calls.compacts() || self.sub_inferences.iter().any(is_compaction)
    }

    /// Begins an element of a body that is a stream: what an event is elsewhere.
    pub(super) fn begin_element(&mut self) {
        self.part.counts = Counts::default();
        self.part.status = Word::default();
        self.part.things = 0;
        self.part.is_element = true;
    }

    /// Notes that bytes of the reply are missing here.
    pub(in crate::llm) fn gap(&mut self) {
        self.is_final = false;
    }

    /// Takes a value that is a text of the answer, if it is a string.
    pub(super) fn text(&mut self, value: Value<'_>) {
        if let Value::Piece(text) = value {
            self.output(text);
        } else if matches!(value, Value::End) && self.part.is_body && !self.part.is_element {
            // Strings of events go on in the next one.
            self.output.end_part();
        }
    }

    /// Takes a value inside the arguments of a tool: names and numbers are the model's own, too.
    pub(super) fn argument(&mut self, value: Value<'_>) {
        if let Value::Name(text) | Value::Number(text) = value {
            self.output.end_part();
            self.output(text);
            self.output.end_part();
        } else {
            self.text(value);
        }
    }

    fn output(&mut self, text: &str) {
        self.part.has_output = true;
        if self.keeps_text {
            self.output.push(text);
        } else {
            self.output.skip(text);
        }
    }

    /// What decides the price, as far as the reply says it.
    pub(in crate::llm) fn terms(&self) -> Terms {
        // Where Anthropic does not say it, that is the word for it.
        let region = self.region.some().filter(|geo| geo != "not_available");
        Terms {
            service_tier: self.tier.some(),
            speed: self.speed.some(),
            region,
            ..Terms::default()
        }
    }

    /// Takes a value of a usage object.
    pub(super) fn usage(&mut self, path: &[Key], value: Value<'_>) {
        self.refused += u64::from(self.part.counts.read(path, value));
    }

    /// Takes a value of an element that says how many tokens one kind of content has.
    pub(super) fn modality(&mut self, side: Side, inner: &[Key], value: Value<'_>) {
        let (kind, counts) = &mut self.part.pass;
        match inner {
            [] if matches!(value, Value::Object) => self.part.pass = Default::default(),
            [] if matches!(value, Value::Close) => {
                let (kind, counts) = std::mem::take(&mut self.part.pass);
                self.part.counts.add_modality(side, kind.as_str(), &counts);
            }
            [Key::Modality] => kind.last(value),
            [Key::TokenCount | Key::Tokens] => {
                self.refused += u64::from(counts.read(&[Key::TotalTokens], value));
            }
            _ => {}
        }
    }

    /// Takes a value of an element that says how often a tool of Google's was used.
    pub(super) fn searches(&mut self, inner: &[Key], value: Value<'_>) {
        let (kind, counts) = &mut self.part.pass;
        match inner {
            [] if matches!(value, Value::Object) => self.part.pass = Default::default(),
            [] if matches!(value, Value::Close) => {
                let (kind, counts) = std::mem::take(&mut self.part.pass);
                if kind.as_str() == "google_search"
                    && let Some(searches) = counts.units().web_searches
                {
                    self.part.counts.set_searches(searches);
                }
            }
            [Key::Type] => kind.last(value),
            [Key::Count] => self.refused += u64::from(counts.read(&[Key::NumRequests], value)),
            _ => {}
        }
    }

    /// Takes the input tokens of one text of several.
    pub(super) fn further_prompt(&mut self, value: Value<'_>) {
        let value = without_fraction(value);
        let mut counts = Counts::default();
        self.refused += u64::from(counts.read(&[Key::PromptTokens], value));
        self.part.counts.add(&counts);
    }

    /// Takes a value of the usage of a model that ran beside.
    pub(super) fn usage_beside(&mut self, path: &[Key], value: Value<'_>) {
        let (model, counts) = &mut self.part.beside;
        match path {
            [] if matches!(value, Value::Object) => self.part.beside = Default::default(),
            [Key::Model] => model.last(value),
            _ => self.refused += u64::from(counts.read(path, value)),
        }
    }

    /// Ends the usage of a model that ran beside. One that used nothing did not run.
    pub(super) fn end_beside(&mut self, kind: SubKind, usage: fn(&Counts) -> Usage) {
        let (model, counts) = std::mem::take(&mut self.part.beside);
        let usage = usage(&counts);
        if usage.is_zero() {
            return;
        }
        if self.part.sub_inferences.len() >= SubInference::MOST {
            self.unrecorded += 1;
            return;
        }
        self.part.sub_inferences.push(SubInference {
            kind,
            model: model.some(),
            usage,
        });
    }

    /// Takes the counters of the part in place of earlier ones, if it has any. What stands beside
    /// the tokens may come in a part of its own.
    pub(super) fn replace_counts(&mut self) {
        if self.part.counts.is_empty() {
            self.counts.overwrite(&self.part.counts);
        } else {
            self.counts = self.part.counts;
            self.is_final = true;
        }
        if !self.part.sub_inferences.is_empty() {
            self.sub_inferences = std::mem::take(&mut self.part.sub_inferences);
        }
    }
}
