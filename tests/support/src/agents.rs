//! What the model says to an agent: the script of a conversation.
//!
//! A prompt with the word [`MARKER`] and steps behind it, `bpftok-do:shell.agent+agent`, is
//! answered with the tool calls of the first step; their results with those of the next; the last
//! results with a text. Where a conversation stands follows from the request alone, so that tries,
//! forks and sub-agents need no memory here. A step names what a tool is for; which of the offered
//! tools that is, and with which arguments, follows from the names and schemas in the request.
//!
//! | word | the tool |
//! |---|---|
//! | `shell` | runs `echo bpftok` |
//! | `read` | reads `/etc/hostname` |
//! | `agent` | starts a sub-agent that has nothing to do |
//! | `agent-shell` | starts a sub-agent that runs `shell` |
//! | `agent-background` | starts a sub-agent without waiting for it, where the tool can |
//!
//! A request that forces a tool gets that tool, and one that demands JSON of some schema gets that.

use serde_json::{Value, json};

use crate::call::Call;
use crate::numbers::Numbers;
use crate::schema::{instance, type_of};
use crate::served::Api;

/// What a prompt says before its steps.
pub const MARKER: &str = "bpftok-do:";

/// LIMIT: tools of one reply, 16; more words of a step are left out.
const MAX_TOOLS: usize = 16;

/// What the model says in one reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Pieces of reasoning.
    pub thoughts: Vec<String>,
    /// Pieces of visible text.
    pub deltas: Vec<String>,
    /// Calls of tools, behind the text.
    pub tools: Vec<ToolUse>,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolUse {
    /// Id, unique on the endpoint.
    pub id: String,
    /// Name.
    pub name: String,
    /// Arguments.
    pub arguments: Value,
}

impl Said {
    /// What the model says to `call`.
    pub fn to(call: &Call, numbers: &Numbers) -> Self {
        let mut said = Self {
            thoughts: numbers.thoughts.clone(),
            deltas: numbers.deltas.clone(),
            tools: Vec::new(),
        };
        if call.is_warm_up() {
            said.thoughts.clear();
            said.deltas.clear();
            return said;
        }
        let offered = offered(call);
        said.tools = tools(call, &offered);
        for (index, tool) in said.tools.iter_mut().enumerate() {
            tool.id = match call.api {
                Api::AnthropicMessages => format!("toolu_{:06}_{index}", numbers.number),
                Api::OpenAiChat
                | Api::OpenAiResponses
                | Api::OpenAiRealtime
                | Api::OpenAiCompletions
                | Api::OpenAiEmbeddings
                | Api::GeminiGenerate
                | Api::BedrockConverse
                | Api::BedrockInvoke
                | Api::CohereChat
                | Api::OllamaChat
                | Api::VercelLanguage => format!("call_{:06}_{index}", numbers.number),
            };
        }
        if said.tools.is_empty()
            && let Some(schema) = demanded(call)
        {
            said.deltas = vec![instance(schema, &|_, _| None).to_string()];
        }
        said
    }

    /// Bytes of the first `deltas` pieces of text.
    pub fn text_bytes(&self, deltas: usize) -> u64 {
        self.deltas
            .iter()
            .take(deltas)
            .map(|text| text.len() as u64)
            .sum()
    }

    /// Bytes of names and arguments of tools.
    pub fn tool_bytes(&self) -> u64 {
        self.tools
            .iter()
            .map(|tool| (tool.name.len() + tool.arguments.to_string().len()) as u64)
            .sum()
    }
}

/// A tool that a request offers.
struct Tool<'a> {
    name: &'a str,
    schema: &'a Value,
}

/// Tools that the reply calls.
fn tools(call: &Call, offered: &[Tool<'_>]) -> Vec<ToolUse> {
    if let Some(name) = forced(call) {
        let forced = offered.iter().find(|tool| tool.name == name);
        return forced.map(|tool| tool.with("")).into_iter().collect();
    }
    let Some(step) = step(&turns(call)) else {
        // Without it, a sub-agent of Gemini CLI is asked again.
        let last = offered.iter().find(|tool| tool.name == "complete_task");
        return last.map(|tool| tool.with("")).into_iter().collect();
    };
    step.split('+')
        .filter_map(|word| {
            let names = names(word)?;
            let is_meant = |tool: &&Tool<'_>| {
                let name = tool.name.to_ascii_lowercase();
                names.contains(&name.as_str())
            };
            offered.iter().find(is_meant).map(|tool| tool.with(word))
        })
        .take(MAX_TOOLS)
        .collect()
}

/// Names, in lower case, that clients give to the tool that a word means.
fn names(word: &str) -> Option<&'static [&'static str]> {
    match word {
        "shell" => Some(&[
            "bash",
            "shell",
            "exec_command",
            "run_shell_command",
            "local_shell",
            "execute_command",
            "run_in_terminal",
        ]),
        "read" => Some(&["read", "read_file", "view", "view_file"]),
        "agent" | "agent-shell" | "agent-background" => Some(&[
            "agent",
            "task",
            "spawn_agent",
            "delegate_to_agent",
            "invoke_agent",
            "generalist",
        ]),
        _ => None,
    }
}

impl Tool<'_> {
    /// The call of it that `word` means.
    fn with(&self, word: &str) -> ToolUse {
        let choose = |name: &str, schema: &Value| self.argument(word, name, schema);
        let mut arguments = instance(self.schema, &choose);
        // Left out it is true with Claude Code, and the end of the sub-agent a turn of its own.
        let property = "run_in_background";
        let properties = self.schema.get("properties");
        if let (Some(_), Some(arguments)) = (
            properties.and_then(|all| all.get(property)),
            arguments.as_object_mut(),
        ) {
            arguments.insert(property.to_owned(), json!(word == "agent-background"));
        }
        ToolUse {
            id: String::new(),
            name: self.name.to_owned(),
            arguments,
        }
    }

    /// What a required argument is, by its name.
    fn argument(&self, word: &str, name: &str, schema: &Value) -> Option<Value> {
        let is_list = type_of(schema) == "array";
        match name {
            "command" | "cmd" | "script" if is_list => Some(json!(["echo", "bpftok"])),
            "command" | "cmd" | "script" => Some(json!("echo bpftok")),
            "file_path" | "filePath" | "absolute_path" | "path" => Some(json!("/etc/hostname")),
            "prompt" | "request" | "objective" | "query" | "task" | "message" => {
                let script = if word == "agent-shell" {
                    format!(" {MARKER}shell")
                } else {
                    String::new()
                };
                Some(json!(format!("Say hello.{script}")))
            }
            // Where there is no enumeration, the kinds stand in the description of the tool.
            _ if schema.get("enum").is_some() => None,
            "subagent_type" if self.name == "task" => Some(json!("general")),
            "subagent_type" | "agent_type" => Some(json!("general-purpose")),
            "agent_name" => Some(json!("generalist")),
            _ => None,
        }
    }
}

/// One turn of a conversation, as far as the script cares.
enum Turn<'a> {
    /// Text of a user.
    Text(&'a str),
    /// What the model said.
    Model,
    /// Result of a tool.
    Result,
}

/// The step that is due, if the conversation has a script that is not at its end.
fn step<'a>(turns: &[Turn<'a>]) -> Option<&'a str> {
    let (start, steps) = turns.iter().enumerate().rev().find_map(|(index, turn)| {
        let Turn::Text(text) = turn else { return None };
        let (_, rest) = text.split_once(MARKER)?;
        let is_step = |c: char| c.is_ascii_lowercase() || "+-.".contains(c);
        let end = rest.find(|c| !is_step(c)).unwrap_or(rest.len());
        Some((index, rest.get(..end)?))
    })?;
    // A step is done when results follow what the model said; several belong to one step.
    let (mut done, mut is_counted) = (0, true);
    for turn in turns.iter().skip(start + 1) {
        match turn {
            Turn::Model => is_counted = false,
            Turn::Result if !is_counted => {
                done += 1;
                is_counted = true;
            }
            Turn::Result | Turn::Text(_) => {}
        }
    }
    steps
        .trim_end_matches('.')
        .split('.')
        .nth(done)
        .filter(|step| !step.is_empty())
}

/// The turns of a request.
fn turns(call: &Call) -> Vec<Turn<'_>> {
    let key = match call.api {
        Api::AnthropicMessages | Api::OpenAiChat => "messages",
        Api::OpenAiResponses | Api::OpenAiRealtime => "input",
        Api::GeminiGenerate => "contents",
        // No agent is spoken to over these.
        Api::OpenAiCompletions
        | Api::OpenAiEmbeddings
        | Api::BedrockConverse
        | Api::BedrockInvoke
        | Api::CohereChat
        | Api::OllamaChat
        | Api::VercelLanguage => return Vec::new(),
    };
    let mut turns: Vec<_> = call.history.iter().flat_map(turns_of).collect();
    match call.body.get(key) {
        Some(Value::String(text)) => turns.push(Turn::Text(text)),
        Some(Value::Array(items)) => turns.extend(items.iter().flat_map(turns_of)),
        _ => {}
    }
    turns
}

/// The turns that one message or item is.
fn turns_of(item: &Value) -> Vec<Turn<'_>> {
    let word = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
    match (word("role"), word("type")) {
        (_, "function_call_output" | "custom_tool_call_output") | ("tool", _) => {
            vec![Turn::Result]
        }
        ("assistant" | "model", _)
        | (_, "function_call" | "custom_tool_call" | "reasoning" | "local_shell_call") => {
            vec![Turn::Model]
        }
        ("user", _) => match item.get("content").or_else(|| item.get("parts")) {
            Some(Value::String(text)) => vec![Turn::Text(text)],
            Some(Value::Array(blocks)) => blocks.iter().filter_map(block).collect(),
            _ => Vec::new(),
        },
        // Instructions, wherever they stand.
        _ => Vec::new(),
    }
}

/// The turn that a block of a user's message is.
fn block(block: &Value) -> Option<Turn<'_>> {
    let kind = block.get("type").and_then(Value::as_str);
    if kind == Some("tool_result") || block.get("functionResponse").is_some() {
        return Some(Turn::Result);
    }
    block.get("text").and_then(Value::as_str).map(Turn::Text)
}

/// Tools that a request offers.
fn offered(call: &Call) -> Vec<Tool<'_>> {
    // Codex offers its tools in an item of the input.
    let items = call.body.get("input").and_then(Value::as_array);
    std::iter::once(&call.body)
        .chain(&call.history)
        .chain(items.into_iter().flatten())
        .filter_map(|holder| holder.get("tools")?.as_array())
        .flatten()
        .flat_map(|tool| match tool.get("functionDeclarations") {
            Some(Value::Array(functions)) => functions.iter().collect(),
            _ => vec![tool.get("function").unwrap_or(tool)],
        })
        .filter_map(Tool::of)
        .collect()
}

impl<'a> Tool<'a> {
    /// The tool that this declares, if it takes arguments by a schema.
    fn of(declared: &'a Value) -> Option<Self> {
        let schema = ["input_schema", "parameters", "parametersJsonSchema"]
            .iter()
            .find_map(|key| declared.get(*key))?;
        let name = declared.get("name")?.as_str()?;
        Some(Self { name, schema })
    }
}

/// The tool that a request forces.
fn forced(call: &Call) -> Option<&str> {
    let choice = call.body.get("tool_choice")?;
    let name = choice
        .get("name")
        .or_else(|| choice.get("function")?.get("name"));
    name.and_then(Value::as_str)
}

/// The schema that the answer must fit.
fn demanded(call: &Call) -> Option<&Value> {
    let find = |path: &[&str]| {
        path.iter()
            .try_fold(&call.body, |value, key| value.get(*key))
    };
    match call.api {
        Api::AnthropicMessages => find(&["output_config", "format", "schema"]),
        Api::OpenAiChat => find(&["response_format", "json_schema", "schema"]),
        Api::OpenAiResponses => find(&["text", "format", "schema"]),
        Api::OpenAiRealtime
        | Api::OpenAiCompletions
        | Api::OpenAiEmbeddings
        | Api::BedrockConverse
        | Api::BedrockInvoke
        | Api::CohereChat
        | Api::OllamaChat
        | Api::VercelLanguage => None,
        Api::GeminiGenerate => find(&["generationConfig", "responseJsonSchema"])
            .or_else(|| find(&["generationConfig", "responseSchema"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(target: &str, body: &Value) -> Said {
        let call = Call::by_post(target, body.to_string().as_bytes()).unwrap();
        Said::to(&call, &Numbers::of(0, 1, call.api, Some(2)))
    }

    /// Names and arguments of the tools that the answer calls.
    fn called(target: &str, body: &Value) -> Vec<(String, Value)> {
        let tools = said(target, body).tools;
        tools
            .into_iter()
            .map(|tool| (tool.name, tool.arguments))
            .collect()
    }

    fn schema(properties: &[&str]) -> Value {
        let all: serde_json::Map<_, _> = properties
            .iter()
            .map(|name| ((*name).to_owned(), json!({"type": "string"})))
            .collect();
        json!({"type": "object", "properties": all, "required": properties})
    }

    fn claude(messages: &Value) -> Value {
        let mut agent = schema(&["description", "prompt", "subagent_type"]);
        agent["properties"]["run_in_background"] = json!({"type": "boolean"});
        json!({
            "model": "m",
            "messages": messages,
            "tools": [
                {"name": "Agent", "input_schema": agent},
                {"name": "Bash", "input_schema": schema(&["command"])},
                {"name": "Read", "input_schema": schema(&["file_path"])},
            ],
        })
    }

    #[test]
    fn a_script_goes_on_step_by_step_and_ends_in_text() {
        let prompt =
            "<reminder>bpftok-do:nothing</reminder> Please bpftok-do:shell.read+agent now.";
        let mut messages = vec![
            json!({"role": "user", "content": [{"type": "text", "text": prompt}]}),
            json!({"role": "system", "content": "a reminder"}),
        ];
        // The first marker of a text counts.
        assert_eq!(called("/v1/messages", &claude(&json!(messages))), []);
        messages[0] = json!({"role": "user", "content": "Please bpftok-do:shell.read+agent now."});
        let bash = ("Bash".to_owned(), json!({"command": "echo bpftok"}));
        assert_eq!(called("/v1/messages", &claude(&json!(messages))), [bash]);

        messages.push(json!({"role": "assistant", "content": [{"type": "tool_use"}]}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "content": "bpftok-do:shell"},
            {"type": "text", "text": "a reminder"},
        ]}));
        let read = ("Read".to_owned(), json!({"file_path": "/etc/hostname"}));
        let agent = (
            "Agent".to_owned(),
            json!({
                "description": "bpftok",
                "prompt": "Say hello.",
                "subagent_type": "general-purpose",
                "run_in_background": false,
            }),
        );
        assert_eq!(
            called("/v1/messages", &claude(&json!(messages))),
            [read, agent]
        );

        messages.push(json!({"role": "assistant", "content": []}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result"}, {"type": "tool_result"},
        ]}));
        let last = said("/v1/messages", &claude(&json!(messages)));
        assert!(last.tools.is_empty() && !last.deltas.is_empty());
    }

    #[test]
    fn a_sub_agent_can_have_a_script_of_its_own() {
        let messages = json!([{"role": "user", "content": "bpftok-do:agent-shell"}]);
        let found = called("/v1/messages", &claude(&messages));
        assert_eq!(found[0].1["prompt"], "Say hello. bpftok-do:shell");
    }

    #[test]
    fn every_api_has_its_own_shape_of_tools_and_results() {
        let shell = |name: &str| json!({"name": name, "parameters": schema(&["command"])});
        let table = [
            (
                "/v1/chat/completions",
                json!({"tools": [{"type": "function", "function": shell("bash")}], "messages": [
                    {"role": "system", "content": "x"},
                    {"role": "user", "content": "bpftok-do:shell.shell"},
                ]}),
                "messages",
                vec![
                    json!({"role": "assistant", "tool_calls": []}),
                    json!({"role": "tool", "content": "bpftok"}),
                ],
            ),
            (
                "/v1/responses",
                json!({"input": [
                    {"type": "additional_tools", "tools": [shell("shell")]},
                    {"role": "developer", "content": [{"type": "input_text", "text": "x"}]},
                    {"role": "user", "content": [{"type": "input_text", "text": "bpftok-do:shell.shell"}]},
                ]}),
                "input",
                vec![
                    json!({"type": "function_call"}),
                    json!({"type": "function_call_output", "output": "bpftok"}),
                ],
            ),
            (
                "/v1beta/models/m:generateContent",
                json!({
                    "tools": [{"functionDeclarations": [
                        {"name": "run_shell_command", "parametersJsonSchema": schema(&["command"])},
                    ]}],
                    "contents": [{"role": "user", "parts": [{"text": "bpftok-do:shell.shell"}]}],
                }),
                "contents",
                vec![
                    json!({"role": "model", "parts": [{"functionCall": {}}]}),
                    json!({"role": "user", "parts": [{"functionResponse": {}}]}),
                ],
            ),
        ];
        for (target, mut body, key, round) in table {
            for left in [1, 1, 0] {
                assert_eq!(called(target, &body).len(), left, "{target}");
                body[key].as_array_mut().unwrap().extend(round.clone());
            }
        }
    }

    #[test]
    fn a_request_without_tools_gets_text_whatever_its_prompt_says() {
        let body = json!({"messages": [{"role": "user", "content": "bpftok-do:shell"}]});
        assert_eq!(called("/v1/messages", &body), []);
    }

    #[test]
    fn json_that_is_demanded_is_given_and_a_forced_tool_is_called() {
        let format = json!({"type": "json_schema", "schema": schema(&["title"])});
        let body = json!({"messages": [], "output_config": {"format": format}});
        assert_eq!(
            said("/v1/messages", &body).deltas,
            [r#"{"title":"bpftok"}"#]
        );

        let mut body = claude(&json!([]));
        body["tool_choice"] = json!({"type": "tool", "name": "Read"});
        assert_eq!(called("/v1/messages", &body)[0].0, "Read");
    }

    #[test]
    fn a_sub_agent_that_ends_by_a_tool_ends_at_once() {
        let body = json!({
            "contents": [{"role": "user", "parts": [{"text": "Say hello."}]}],
            "tools": [{"functionDeclarations": [
                {"name": "complete_task", "parametersJsonSchema": schema(&["response"])},
            ]}],
        });
        let found = called("/v1beta/models/m:generateContent", &body);
        let expected = ("complete_task".to_owned(), json!({"response": "bpftok"}));
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_warm_up_says_nothing() {
        let body = json!({"generate": false, "input": []});
        let call = Call::by_message(Api::OpenAiResponses, None, body, Vec::new());
        let said = Said::to(&call, &Numbers::of(0, 1, call.api, None));
        assert_eq!((said.deltas.len(), said.tools.len()), (0, 0));
    }
}
