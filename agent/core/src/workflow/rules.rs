//! Rules: which calls have a name of the configuration.

use super::name::{Capture, Template};
use super::subject::{Subject, file_name, short_id, without_mark};
use crate::event::{Ancestor, Container};
use crate::glob;

/// What a rule can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Unit of systemd.
    Unit,
    /// Container, by its name, its id or the beginning of it.
    Container,
    /// Image of the container.
    ContainerImage,
    /// Pod of Kubernetes.
    Pod,
    /// Namespace of the pod.
    Namespace,
    /// User.
    User,
    /// Repository of git that the working directory is in.
    Repo,
    /// Executable: its path if the pattern has a slash, else the name of its file.
    Exe,
    /// The same of any process that it descends from.
    AncestorExe,
    /// The same, or the name of its main thread.
    Ancestor,
    /// The whole command line, its words separated by blanks. The shell compares it, and tells the
    /// numbers of the patterns that match.
    Argv,
    /// Client.
    Client,
    /// Host that is called.
    Host,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Unit,
        Self::Container,
        Self::ContainerImage,
        Self::Pod,
        Self::Namespace,
        Self::User,
        Self::Repo,
        Self::Exe,
        Self::AncestorExe,
        Self::Ancestor,
        Self::Argv,
        Self::Client,
        Self::Host,
    ];

    /// Key in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Container => "container",
            Self::ContainerImage => "container_image",
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::User => "user",
            Self::Repo => "repo",
            Self::Exe => "exe",
            Self::AncestorExe => "ancestor_exe",
            Self::Ancestor => "ancestor",
            Self::Argv => "argv",
            Self::Client => "client",
            Self::Host => "host",
        }
    }

    /// The field with a key.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// One condition of a rule: a field is one of some patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Field.
    pub field: Field,
    /// Patterns, in which `*` stands for any text and `?` for one character.
    pub patterns: Vec<String>,
}

/// A rule, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Name of its workflow.
    pub name: Template,
    /// What must hold, all of it; nothing for a rule that matches every call.
    pub conditions: Vec<Condition>,
    /// Code that the cost is billed under.
    pub billing_code: Option<String>,
}

/// The patterns of command lines in rules, each once, in the order of their first use: what
/// [`Process::matched_arguments`](crate::event::Process::matched_arguments) numbers.
pub fn argument_patterns(specs: &[RuleSpec]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let conditions = specs.iter().flat_map(|spec| &spec.conditions);
    for pattern in conditions
        .filter(|condition| condition.field == Field::Argv)
        .flat_map(|condition| &condition.patterns)
    {
        if !found.contains(pattern) {
            found.push(pattern.clone());
        }
    }
    found
}

/// A rule, ready to be compared.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) spec: RuleSpec,
    tests: Vec<Test>,
}

/// A condition, ready to be compared.
#[derive(Clone, Debug)]
struct Test {
    field: Field,
    patterns: Vec<String>,
    /// Numbers of the patterns, if they are of command lines.
    numbers: Vec<u16>,
}

/// How one condition was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Field.
    pub field: Field,
    /// Patterns of the rule.
    pub patterns: Vec<String>,
    /// What is known of the field; of a command line, which is never shown, always nothing.
    pub values: Vec<String>,
    /// What matched; `None` if nothing did.
    pub matched: Option<Matched>,
}

/// What matched in a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Pattern.
    pub pattern: String,
    /// Value; `None` for a command line.
    pub value: Option<String>,
}

impl Rule {
    pub(super) fn new(spec: RuleSpec, arguments: &[String]) -> Self {
        let number = |pattern: &String| {
            let place = arguments.iter().position(|known| known == pattern);
            place.and_then(|place| u16::try_from(place).ok())
        };
        let test = |condition: &Condition| Test {
            field: condition.field,
            patterns: condition.patterns.clone(),
            // A pattern that has no number is none of a command line.
            numbers: condition.patterns.iter().filter_map(number).collect(),
        };
        let tests = spec.conditions.iter().map(test).collect();
        Self { spec, tests }
    }

    /// Whether a field is looked at.
    pub(super) fn looks_at(&self, field: Field) -> bool {
        self.tests.iter().any(|test| test.field == field)
    }

    /// The name that it gives; `None` if it does not match.
    pub(super) fn name(&self, subject: Subject<'_>) -> Option<String> {
        let is_match = self.tests.iter().all(|test| test.find(subject).is_some());
        is_match.then(|| self.fill(subject).ok()).flatten()
    }

    pub(super) fn fill(&self, subject: Subject<'_>) -> Result<String, Capture> {
        self.spec.name.fill(subject)
    }

    /// How each condition compares.
    pub(super) fn compare(&self, subject: Subject<'_>) -> Vec<Compared> {
        let compare = |test: &Test| Compared {
            field: test.field,
            patterns: test.patterns.clone(),
            values: values(test.field, subject).map(Value::shown).collect(),
            matched: test.find(subject).map(|(pattern, value)| Matched {
                pattern: pattern.to_owned(),
                value: value.map(Value::shown),
            }),
        };
        self.tests.iter().map(compare).collect()
    }
}

impl Test {
    /// The first pattern that matches, and which value.
    fn find<'a>(&self, subject: Subject<'a>) -> Option<(&str, Option<Value<'a>>)> {
        if self.field == Field::Argv {
            let matched = subject.matched_arguments();
            let mut patterns = self.patterns.iter().zip(&self.numbers);
            return patterns
                .find(|(_, number)| matched.contains(number))
                .map(|(pattern, _)| (pattern.as_str(), None));
        }
        self.patterns.iter().find_map(|pattern| {
            let found = values(self.field, subject).find(|value| value.is(pattern))?;
            Some((pattern.as_str(), Some(found)))
        })
    }
}

/// One value of a field.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Text(&'a str),
    /// A host name, in which case counts for nothing.
    Host(&'a str),
    Exe(&'a str),
    Ancestor(&'a Ancestor),
    Container(&'a Container),
}

/// The values of a field that are known.
fn values(field: Field, subject: Subject<'_>) -> impl Iterator<Item = Value<'_>> {
    let one = match field {
        Field::Unit => subject.unit().map(Value::Text),
        Field::Container => subject.container().map(Value::Container),
        Field::ContainerImage => subject
            .container()
            .and_then(|container| container.image.as_deref())
            .map(Value::Text),
        Field::Pod => subject.pod().map(Value::Text),
        Field::Namespace => subject.namespace().map(Value::Text),
        Field::User => subject.user().map(Value::Text),
        Field::Repo => subject.repo().map(Value::Text),
        Field::Exe => subject.exe().map(Value::Exe),
        Field::Client => subject.client.map(Value::Text),
        Field::Host => subject.host.map(Value::Host),
        Field::AncestorExe | Field::Ancestor | Field::Argv => None,
    };
    let ancestors = subject.ancestors().iter();
    let many = ancestors.filter_map(move |ancestor| match field {
        Field::AncestorExe => ancestor.exe.as_deref().map(without_mark).map(Value::Exe),
        Field::Ancestor => Some(Value::Ancestor(ancestor)),
        Field::Unit
        | Field::Container
        | Field::ContainerImage
        | Field::Pod
        | Field::Namespace
        | Field::User
        | Field::Repo
        | Field::Exe
        | Field::Argv
        | Field::Client
        | Field::Host => None,
    });
    one.into_iter().chain(many)
}

impl Value<'_> {
    fn is(&self, pattern: &str) -> bool {
        let is_exe = |path: &str| {
            let name = || file_name(path).is_some_and(|name| glob::matches(pattern, name));
            match pattern.contains('/') {
                true => glob::matches(pattern, path),
                false => name(),
            }
        };
        match self {
            Self::Text(text) => glob::matches(pattern, text),
            Self::Host(host) => {
                glob::matches(&pattern.to_ascii_lowercase(), &host.to_ascii_lowercase())
            }
            Self::Exe(path) => is_exe(path),
            Self::Ancestor(ancestor) => {
                let path = ancestor.exe.as_deref().map(without_mark);
                path.is_some_and(is_exe) || glob::matches(pattern, &ancestor.comm)
            }
            Self::Container(container) => {
                let name = container.name.as_deref();
                [name, Some(&container.id), Some(short_id(&container.id))]
                    .into_iter()
                    .flatten()
                    .any(|name| glob::matches(pattern, name))
            }
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Text(text) | Self::Host(text) | Self::Exe(text) => text.to_owned(),
            Self::Ancestor(ancestor) => {
                let path = ancestor.exe.as_deref().map(without_mark);
                path.unwrap_or(&ancestor.comm).to_owned()
            }
            Self::Container(container) => {
                let id = short_id(&container.id);
                let name = container.name.as_deref();
                name.map_or_else(|| id.to_owned(), |name| format!("{name} ({id})"))
            }
        }
    }
}
