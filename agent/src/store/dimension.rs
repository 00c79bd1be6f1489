//! What usage can be put together by, and chosen by.

/// A property of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Hours of the report's time zone.
    Hour,
    /// Calendar days of the report's time zone.
    Day,
    /// Weeks from Monday on, as ISO 8601 numbers them.
    Week,
    /// Calendar months.
    Month,
    /// Named units of work.
    Workflow,
    /// Billing codes of workflows.
    BillingCode,
    /// Sessions.
    Session,
    /// Client programs.
    Client,
    /// Processes.
    Process,
    /// Units of systemd.
    Unit,
    /// Containers.
    Container,
    /// Users of the system.
    User,
    /// Repositories of git.
    Repo,
    /// Branches of git.
    Branch,
    /// Models, as served.
    Model,
    /// Providers.
    Provider,
    /// Task types.
    Task,
    /// Kinds of threads inside of sessions.
    ThreadKind,
    /// How long sessions are, in requests.
    LengthBucket,
    /// How long sessions are, in time.
    LengthDuration,
    /// How long sessions are, by their largest input.
    LengthContext,
    /// How calls ended.
    Outcome,
    /// Hosts.
    Host,
    /// Who pays.
    Billing,
}

/// Of what a dimension is a property: the sums by quarter of an hour have those of kinds alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grain {
    /// Of a kind of calls, which the lasting sums are kept apart by.
    Kind,
    /// Of a session, or of a process or thread in it, whose sums last too.
    Session,
    /// Of a call: the sums of a session don't say when.
    Call,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Hour,
        Self::Workflow,
        Self::BillingCode,
        Self::Session,
        Self::Client,
        Self::Process,
        Self::Unit,
        Self::Container,
        Self::User,
        Self::Repo,
        Self::Branch,
        Self::Model,
        Self::Provider,
        Self::Task,
        Self::ThreadKind,
        Self::LengthBucket,
        Self::LengthDuration,
        Self::LengthContext,
        Self::Outcome,
        Self::Host,
        Self::Billing,
    ];

    /// Its name on the command line and in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Workflow => "workflow",
            Self::BillingCode => "billing-code",
            Self::Session => "session",
            Self::Client => "client",
            Self::Process => "process",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::User => "user",
            Self::Repo => "repo",
            Self::Branch => "branch",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Task => "task",
            Self::ThreadKind => "thread-kind",
            Self::LengthBucket => "length-bucket",
            Self::LengthDuration => "length-duration",
            Self::LengthContext => "length-context",
            Self::Outcome => "outcome",
            Self::Host => "host",
            Self::Billing => "billing",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|found| found.name() == name)
    }

    /// Whether it is time.
    pub const fn is_period(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Week | Self::Month)
    }

    /// Whether its values have an order of their own, so that they are not shown by size.
    pub const fn is_ordered(self) -> bool {
        self.is_period()
            || matches!(
                self,
                Self::LengthBucket | Self::LengthDuration | Self::LengthContext
            )
    }

    /// Whether kinds of calls have it.
    pub(super) fn is_of_kind(self) -> bool {
        self.grain() == Grain::Kind && !self.is_period()
    }

    /// Whether it is of a session, or of a process or thread in it.
    pub(super) fn is_of_session(self) -> bool {
        self.grain() == Grain::Session
    }

    pub(super) const fn grain(self) -> Grain {
        match self {
            Self::Session
            | Self::Process
            | Self::ThreadKind
            | Self::LengthBucket
            | Self::LengthDuration
            | Self::LengthContext => Grain::Session,
            Self::Hour
            | Self::Day
            | Self::Week
            | Self::Month
            | Self::Workflow
            | Self::BillingCode
            | Self::Client
            | Self::Unit
            | Self::Container
            | Self::User
            | Self::Repo
            | Self::Branch
            | Self::Model
            | Self::Provider
            | Self::Task
            | Self::Outcome
            | Self::Host
            | Self::Billing => Grain::Kind,
        }
    }

    /// What tells its values apart, in SQL over `u` (sums), `k` (usage_key) and what is joined to
    /// them. An integer where the value has an order or an id of its own, else the text.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Hour => "hour_start(u.first_ms)",
            Self::Day => "day_start(u.first_ms)",
            Self::Week => "week_start(u.first_ms)",
            Self::Month => "month_start(u.first_ms)",
            Self::Session => "u.session_id",
            Self::Process => "u.process_id",
            Self::LengthBucket => {
                "CASE WHEN s.request_count <= 1 THEN 0 WHEN s.request_count <= 5 THEN 1
                      WHEN s.request_count <= 20 THEN 2 WHEN s.request_count <= 100 THEN 3
                      WHEN s.request_count <= 500 THEN 4 ELSE 5 END"
            }
            Self::LengthDuration => {
                "CASE WHEN s.last_request_ms - s.started_ms < 60000 THEN 0
                      WHEN s.last_request_ms - s.started_ms < 600000 THEN 1
                      WHEN s.last_request_ms - s.started_ms < 3600000 THEN 2
                      WHEN s.last_request_ms - s.started_ms < 14400000 THEN 3
                      WHEN s.last_request_ms - s.started_ms < 43200000 THEN 4 ELSE 5 END"
            }
            Self::LengthContext => {
                "CASE WHEN s.peak_context_tokens < 32000 THEN 0
                      WHEN s.peak_context_tokens < 100000 THEN 1
                      WHEN s.peak_context_tokens < 200000 THEN 2
                      WHEN s.peak_context_tokens < 272000 THEN 3
                      WHEN s.peak_context_tokens >= 272000 THEN 4 END"
            }
            Self::Workflow
            | Self::BillingCode
            | Self::Client
            | Self::Unit
            | Self::Container
            | Self::User
            | Self::Repo
            | Self::Branch
            | Self::Model
            | Self::Provider
            | Self::Task
            | Self::ThreadKind
            | Self::Outcome
            | Self::Host
            | Self::Billing => self.text(),
        }
    }

    /// Its value as a text, in the same SQL: what filters compare.
    pub(super) const fn text(self) -> &'static str {
        match self {
            // A window is chosen by its ends.
            Self::Hour | Self::Day | Self::Week | Self::Month => "NULL",
            Self::Workflow => "w.name",
            Self::BillingCode => "w.billing_code",
            Self::Session => "s.session_key",
            Self::Client => "k.client_name",
            Self::Process => "CAST(p.pid AS TEXT)",
            Self::Unit => "k.systemd_unit",
            Self::Container => "k.container",
            Self::User => "ifnull(k.user_name, CAST(k.uid AS TEXT))",
            Self::Repo => "c.repo",
            Self::Branch => "c.branch",
            Self::Model => "k.model",
            Self::Provider => "k.provider",
            Self::Task => "k.task_type",
            Self::ThreadKind => "t.kind",
            Self::LengthBucket => {
                "CASE WHEN s.request_count <= 1 THEN '1' WHEN s.request_count <= 5 THEN '2-5'
                      WHEN s.request_count <= 20 THEN '6-20'
                      WHEN s.request_count <= 100 THEN '21-100'
                      WHEN s.request_count <= 500 THEN '101-500' ELSE '501+' END"
            }
            Self::LengthDuration => {
                "CASE WHEN s.last_request_ms - s.started_ms < 60000 THEN '<1m'
                      WHEN s.last_request_ms - s.started_ms < 600000 THEN '1-10m'
                      WHEN s.last_request_ms - s.started_ms < 3600000 THEN '10-60m'
                      WHEN s.last_request_ms - s.started_ms < 14400000 THEN '1-4h'
                      WHEN s.last_request_ms - s.started_ms < 43200000 THEN '4-12h'
                      ELSE '12h+' END"
            }
            Self::LengthContext => {
                "CASE WHEN s.peak_context_tokens < 32000 THEN '<32k'
                      WHEN s.peak_context_tokens < 100000 THEN '32-100k'
                      WHEN s.peak_context_tokens < 200000 THEN '100-200k'
                      WHEN s.peak_context_tokens < 272000 THEN '200-272k'
                      WHEN s.peak_context_tokens >= 272000 THEN '272k+' END"
            }
            Self::Outcome => "k.outcome",
            Self::Host => "h.host_name",
            Self::Billing => "k.billing_kind",
        }
    }

    /// What has to be joined to the sums and their keys to know it.
    pub(super) const fn joined(self) -> Option<&'static str> {
        match self {
            Self::Workflow | Self::BillingCode => {
                Some("JOIN workflow AS w ON w.workflow_id = k.workflow_id")
            }
            Self::Repo | Self::Branch => {
                Some("LEFT JOIN checkout AS c ON c.checkout_id = k.checkout_id")
            }
            Self::Host => Some("JOIN host AS h ON h.host_id = k.host_id"),
            Self::Session | Self::LengthBucket | Self::LengthDuration | Self::LengthContext => {
                Some("JOIN session AS s ON s.session_id = u.session_id")
            }
            Self::Process => Some("LEFT JOIN process AS p ON p.process_id = u.process_id"),
            Self::ThreadKind => Some("LEFT JOIN thread AS t ON t.thread_id = u.thread_id"),
            Self::Hour
            | Self::Day
            | Self::Week
            | Self::Month
            | Self::Client
            | Self::Unit
            | Self::Container
            | Self::User
            | Self::Model
            | Self::Provider
            | Self::Task
            | Self::Outcome
            | Self::Billing => None,
        }
    }

    /// What has to be joined to the number of a value, `i.value`, to know its text where the sums do not
    /// have it.
    pub(super) const fn looked_up(self) -> Option<&'static str> {
        match self {
            Self::Session => Some("JOIN session AS s ON s.session_id = i.value"),
            Self::Process => Some("JOIN process AS p ON p.process_id = i.value"),
            Self::Hour
            | Self::Day
            | Self::Week
            | Self::Month
            | Self::Workflow
            | Self::BillingCode
            | Self::Client
            | Self::Unit
            | Self::Container
            | Self::User
            | Self::Repo
            | Self::Branch
            | Self::Model
            | Self::Provider
            | Self::Task
            | Self::ThreadKind
            | Self::LengthBucket
            | Self::LengthDuration
            | Self::LengthContext
            | Self::Outcome
            | Self::Host
            | Self::Billing => None,
        }
    }

    /// What else describes a group that is told by this dimension alone.
    pub(super) const fn details(self) -> &'static [Detail] {
        match self {
            Self::Process => &[
                Detail::OfValue("p.comm"),
                Detail::OfValue("p.user_name"),
                Detail::OfValue("p.exe_path"),
            ],
            Self::Session => &[
                Detail::OfValue("s.client_name"),
                Detail::Greatest("k.user_name"),
                Detail::OfValue("s.key_source"),
            ],
            Self::Model => &[Detail::Each("k.provider")],
            Self::Workflow => &[Detail::Each("w.origin")],
            Self::Repo => &[Detail::Greatest("c.git_root")],
            // The sums are not kept apart by versions; sessions have them.
            Self::Client => &[Detail::OfValue(
                "(SELECT group_concat(DISTINCT n.client_version) FROM session AS n
                 WHERE n.client_name IS i.value AND n.last_request_ms >= {from}
                   AND n.started_ms < {until})",
            )],
            Self::Hour
            | Self::Day
            | Self::Week
            | Self::Month
            | Self::BillingCode
            | Self::Unit
            | Self::Container
            | Self::User
            | Self::Branch
            | Self::Provider
            | Self::Task
            | Self::ThreadKind
            | Self::LengthBucket
            | Self::LengthDuration
            | Self::LengthContext
            | Self::Outcome
            | Self::Host
            | Self::Billing => &[],
        }
    }
}

/// Where a text comes from that describes a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// The value has it: in SQL over its number or text, `i.value`, and what [`Dimension::looked_up`]
    /// joins; `{from}` and `{until}` stand for the window.
    OfValue(&'static str),
    /// The greatest of those that its kinds of calls have: in SQL over `k` and what is joined to it.
    Greatest(&'static str),
    /// Those that its kinds of calls have, each once.
    Each(&'static str),
}

impl Detail {
    /// What the kinds of calls have to do with it, in SQL.
    pub(super) const fn of_kind(self) -> &'static str {
        match self {
            Self::OfValue(_) => "NULL",
            Self::Greatest(text) | Self::Each(text) => text,
        }
    }
}
