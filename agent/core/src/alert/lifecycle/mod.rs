//! Alerts over time: what was found wrong begins, is told, and is over.
//!
//! *Takes* the conditions that hold at a moment. *Gives* the alerts that changed, and what somebody has to
//! be told. *Remembers* the alerts that have not ended, as many as the ledger keeps for a restart.
//! *Nonsense*, a clock that jumps for example, changes when something is told and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Condition, Severity};

/// LIMIT: alerts that have not ended. Conditions beyond it, those in the least hurry, are counted.
pub const MAX_ALERTS: usize = 1_000;

/// LIMIT: alerts in one notification; those beyond it are counted there and shown by `bpftok alerts`.
pub const MAX_IN_NOTIFICATION: usize = 50;

/// LIMIT: notifications in [`GROUP_MS`] that are of one alert each. Beyond it they come together.
const MAX_SINGLE: usize = 5;

/// Time in which notifications are counted, and that lies between two of several alerts.
const GROUP_MS: i64 = 60_000;

/// When an alert is told again that nobody took on.
const REPEAT_PAGE_MS: i64 = 4 * 3_600_000;
const REPEAT_TICKET_MS: i64 = 24 * 3_600_000;

/// Where an alert is between its first moment and its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does not hold long enough yet.
    Pending,
    /// It holds.
    Firing,
    /// It is over.
    Resolved,
}

impl State {
    /// Name in the ledger and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// The one of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Pending, Self::Firing, Self::Resolved]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// One thing that is or was wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Tells it from every other of the host, earlier ones of the same fingerprint too.
    pub id: u64,
    /// Tells what is wrong: a hash of rule, variant, scope and budget, 32 hex digits.
    pub fingerprint: String,
    /// What the rule said last.
    pub condition: Condition,
    /// Where it is.
    pub state: State,
    /// When the condition began to hold; all times are milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// When it had held long enough.
    pub fired_unix_ms: Option<i64>,
    /// When it was over.
    pub ended_unix_ms: Option<i64>,
    /// When somebody took it on.
    pub acknowledged_unix_ms: Option<i64>,
    /// When somebody was last told.
    pub notified_unix_ms: Option<i64>,
    /// The most severe that was told.
    pub notified: Option<Severity>,
}

impl Alert {
    /// Whether it became more urgent than what was told, which is nothing at first.
    fn is_news(&self) -> bool {
        let severity = self.condition.severity;
        severity > Severity::Log && self.notified.is_none_or(|told| told < severity)
    }

    fn is_to_be_repeated(&self, now_unix_ms: i64) -> bool {
        let after_ms = match self.condition.severity {
            Severity::Page => REPEAT_PAGE_MS,
            Severity::Ticket => REPEAT_TICKET_MS,
            Severity::Log => return false,
        };
        !self.condition.rule.is_once()
            && self.acknowledged_unix_ms.is_none()
            && self
                .notified_unix_ms
                .is_some_and(|told| now_unix_ms.saturating_sub(told) >= after_ms)
    }
}

/// Why an alert is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It fires.
    Fire,
    /// It became more urgent.
    Rise,
    /// It still fires, and nobody took it on.
    Repeat,
    /// It is over.
    Resolve,
}

impl Kind {
    /// Name in the ledger and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fire => "fire",
            Self::Rise => "rise",
            Self::Repeat => "repeat",
            Self::Resolve => "resolve",
        }
    }
}

/// An alert and why it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Why.
    pub kind: Kind,
    /// The alert at that moment.
    pub alert: Alert,
}

impl Notice {
    /// How urgent it is to those who are told. The end of an alert goes to all who knew of it.
    pub fn severity(&self) -> Severity {
        let severity = self.alert.condition.severity;
        match self.kind {
            Kind::Resolve => self.alert.notified.unwrap_or(severity).max(severity),
            Kind::Fire | Kind::Rise | Kind::Repeat => severity,
        }
    }
}

/// What is told at once: one notice, or several if there are many.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// What is told; never empty.
    pub notices: Vec<Notice>,
    /// Alerts beyond [`MAX_IN_NOTIFICATION`].
    pub left_out: u64,
    /// When, in milliseconds since the Unix epoch.
    pub unix_ms: i64,
}

impl Notification {
    /// Name of its kind in the ledger and in messages.
    pub fn kind(&self) -> &'static str {
        match self.notices.as_slice() {
            [notice] if self.left_out == 0 => notice.kind.as_str(),
            _ => "group",
        }
    }

    /// The most urgent of its alerts.
    pub fn severity(&self) -> Severity {
        let most = self.notices.iter().map(Notice::severity).max();
        most.unwrap_or(Severity::Log)
    }

    /// The part of it that is at least this urgent; `None` if nothing is.
    pub fn at_least(&self, severity: Severity) -> Option<Self> {
        self.only(|notice| notice.severity() >= severity)
    }

    /// The part of it that is wanted; `None` if nothing is. What was left out is taken to be.
    pub fn only(&self, is_wanted: impl Fn(&Notice) -> bool) -> Option<Self> {
        let notices: Vec<Notice> = self
            .notices
            .iter()
            .filter(|notice| is_wanted(notice))
            .cloned()
            .collect();
        (!notices.is_empty()).then_some(Self { notices, ..*self })
    }
}

/// What a moment changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluated {
    /// Alerts that are new or changed, as they are to be stored.
    pub changed: Vec<Alert>,
    /// Alerts that were over before they fired, and leave nothing behind.
    pub dropped: Vec<u64>,
    /// What began to fire, became more urgent or is over, of every severity: for the log.
    pub journal: Vec<Notice>,
    /// What is to be told.
    pub notifications: Vec<Notification>,
    /// Conditions beyond [`MAX_ALERTS`].
    pub left_out: u64,
}

/// The alerts of a host that have not ended.
#[derive(Debug, Default)]
pub struct Alerts {
    active: BTreeMap<String, Alert>,
    next_id: u64,
    /// When the last notifications of one alert each were made, at most [`MAX_SINGLE`].
    singles: VecDeque<i64>,
    /// When the last one of several alerts was made.
    grouped_unix_ms: Option<i64>,
}

impl Alerts {
    /// Goes on after a restart with the alerts of the ledger that have not ended. No id up to
    /// `last_id` is given again.
    pub fn restore(alerts: Vec<Alert>, last_id: u64) -> Self {
        let last_id = alerts.iter().map(|alert| alert.id).fold(last_id, u64::max);
        let active = alerts
            .into_iter()
            .filter(|alert| alert.state != State::Resolved)
            .map(|alert| (alert.fingerprint.clone(), alert))
            .take(MAX_ALERTS)
            .collect();
        Self {
            active,
            next_id: last_id.saturating_add(1),
            ..Self::default()
        }
    }

    /// The alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.active
            .values()
            .filter(|alert| alert.state == State::Firing)
    }

    /// Somebody took it on: it is not told again while it lasts, unless it becomes more urgent.
    pub fn acknowledge(&mut self, id: u64, unix_ms: i64) {
        if let Some(alert) = self.active.values_mut().find(|alert| alert.id == id) {
            alert.acknowledged_unix_ms.get_or_insert(unix_ms);
        }
    }

    /// Takes all conditions that hold at a moment.
    pub fn evaluate(&mut self, now_unix_ms: i64, conditions: Vec<Condition>) -> Evaluated {
        let mut out = Evaluated::default();
        let holding = self.begin(now_unix_ms, conditions, &mut out);
        let mut changed = BTreeMap::new();
        let mut over = Vec::new();
        for (fingerprint, alert) in &mut self.active {
            match holding.get(fingerprint) {
                Some(condition) => {
                    if go_on(alert, condition, now_unix_ms, &mut out.journal) {
                        changed.insert(alert.id, fingerprint.clone());
                    }
                }
                None => over.push(fingerprint.clone()),
            }
        }
        let ended: Vec<Alert> = over
            .iter()
            .filter_map(|fingerprint| self.active.remove(fingerprint))
            .filter_map(|alert| end(alert, now_unix_ms, &mut out))
            .collect();
        self.tell(now_unix_ms, &ended, &mut changed, &mut out.notifications);
        out.changed.extend(ended);
        let stored = changed
            .values()
            .filter_map(|fingerprint| self.active.get(fingerprint));
        out.changed.extend(stored.cloned());
        out
    }

    /// Makes alerts of conditions that are new; gives all that hold and have an alert.
    fn begin(
        &mut self,
        now_unix_ms: i64,
        conditions: Vec<Condition>,
        out: &mut Evaluated,
    ) -> BTreeMap<String, Condition> {
        let mut holding: BTreeMap<String, Condition> = BTreeMap::new();
        let mut new = Vec::new();
        for condition in conditions {
            let fingerprint = fingerprint(&condition);
            if self.active.contains_key(&fingerprint) {
                keep_worse(&mut holding, fingerprint, condition);
            } else {
                new.push((fingerprint, condition));
            }
        }
        // Where there is no room for all, the urgent ones have it.
        new.sort_by_key(|(_, condition)| std::cmp::Reverse(condition.severity));
        for (fingerprint, condition) in new {
            if !self.active.contains_key(&fingerprint) {
                if self.active.len() >= MAX_ALERTS {
                    out.left_out += 1;
                    continue;
                }
                let alert = Alert {
                    id: self.next_id,
                    fingerprint: fingerprint.clone(),
                    condition: condition.clone(),
                    state: State::Pending,
                    started_unix_ms: now_unix_ms,
                    fired_unix_ms: None,
                    ended_unix_ms: None,
                    acknowledged_unix_ms: None,
                    notified_unix_ms: None,
                    notified: None,
                };
                self.next_id = self.next_id.saturating_add(1);
                self.active.insert(fingerprint.clone(), alert);
            }
            keep_worse(&mut holding, fingerprint, condition);
        }
        holding
    }

    /// Tells what is over, what is new and what nobody took on.
    fn tell(
        &mut self,
        now_unix_ms: i64,
        ended: &[Alert],
        changed: &mut BTreeMap<u64, String>,
        out: &mut Vec<Notification>,
    ) {
        let over: Vec<Notice> = ended
            .iter()
            .filter(|alert| alert.notified.is_some() && !alert.condition.rule.is_once())
            .map(|alert| Notice {
                kind: Kind::Resolve,
                alert: alert.clone(),
            })
            .collect();
        // An end waits for nothing: it would be lost with a restart.
        if over.len() > MAX_SINGLE {
            out.push(group(over, now_unix_ms));
        } else {
            out.extend(over.into_iter().map(|notice| single(notice, now_unix_ms)));
        }
        let due: Vec<String> = self
            .active
            .iter_mut()
            .filter(|(_, alert)| alert.state == State::Firing)
            .filter_map(|(fingerprint, alert)| {
                // A clock that was put back makes nobody wait.
                let told = alert.notified_unix_ms.map(|told| told.min(now_unix_ms));
                alert.notified_unix_ms = told;
                (alert.is_news() || alert.is_to_be_repeated(now_unix_ms))
                    .then(|| fingerprint.clone())
            })
            .collect();
        if due.is_empty() {
            return;
        }
        let is_recent = |then: i64| (0..GROUP_MS).contains(&now_unix_ms.saturating_sub(then));
        self.singles.retain(|then| is_recent(*then));
        let is_many = due.len() + self.singles.len() > MAX_SINGLE;
        if is_many && self.grouped_unix_ms.is_some_and(is_recent) {
            return;
        }
        let mut notices = Vec::new();
        for fingerprint in due {
            let Some(alert) = self.active.get_mut(&fingerprint) else {
                continue;
            };
            let kind = match (alert.is_news(), alert.notified) {
                (true, None) => Kind::Fire,
                (true, Some(_)) => Kind::Rise,
                (false, _) => Kind::Repeat,
            };
            let severity = alert.condition.severity;
            alert.notified = Some(alert.notified.map_or(severity, |told| told.max(severity)));
            alert.notified_unix_ms = Some(now_unix_ms);
            changed.insert(alert.id, fingerprint);
            notices.push(Notice {
                kind,
                alert: alert.clone(),
            });
        }
        if is_many {
            self.grouped_unix_ms = Some(now_unix_ms);
            out.push(group(notices, now_unix_ms));
        } else {
            for notice in notices {
                self.singles.push_back(now_unix_ms);
                out.push(single(notice, now_unix_ms));
            }
        }
    }
}

/// Of two conditions of one fingerprint the more urgent one counts.
fn keep_worse(
    holding: &mut BTreeMap<String, Condition>,
    fingerprint: String,
    condition: Condition,
) {
    let is_worse = holding
        .get(&fingerprint)
        .is_none_or(|known| known.severity < condition.severity);
    if is_worse {
        holding.insert(fingerprint, condition);
    }
}

/// Takes what a rule says of an alert that holds; true if it is to be stored. Figures in summary and
/// evidence alone are stored with the next change that matters.
fn go_on(
    alert: &mut Alert,
    condition: &Condition,
    now_unix_ms: i64,
    journal: &mut Vec<Notice>,
) -> bool {
    let before = alert.condition.severity;
    let is_new = alert.state == State::Pending && alert.started_unix_ms == now_unix_ms;
    let is_put_back = alert.state == State::Pending && now_unix_ms < alert.started_unix_ms;
    alert.condition = condition.clone();
    if alert.state == State::Pending {
        // A clock that was put back makes nobody wait longer than the rule says.
        alert.started_unix_ms = alert.started_unix_ms.min(now_unix_ms);
        let held_ms = now_unix_ms.saturating_sub(alert.started_unix_ms);
        if held_ms >= millis(condition.hold) {
            alert.state = State::Firing;
            alert.fired_unix_ms = Some(now_unix_ms);
            journal.push(Notice {
                kind: Kind::Fire,
                alert: alert.clone(),
            });
            return true;
        }
    } else if before < condition.severity {
        journal.push(Notice {
            kind: Kind::Rise,
            alert: alert.clone(),
        });
    }
    is_new || is_put_back || before != condition.severity
}

/// Ends an alert; `None` if it never fired.
fn end(mut alert: Alert, now_unix_ms: i64, out: &mut Evaluated) -> Option<Alert> {
    let Some(fired) = alert.fired_unix_ms else {
        out.dropped.push(alert.id);
        return None;
    };
    alert.state = State::Resolved;
    alert.ended_unix_ms = Some(now_unix_ms.max(fired));
    out.journal.push(Notice {
        kind: Kind::Resolve,
        alert: alert.clone(),
    });
    Some(alert)
}

fn single(notice: Notice, unix_ms: i64) -> Notification {
    Notification {
        notices: vec![notice],
        left_out: 0,
        unix_ms,
    }
}

/// Several at once, the most urgent first.
fn group(mut notices: Vec<Notice>, unix_ms: i64) -> Notification {
    notices.sort_by_key(|notice| (std::cmp::Reverse(notice.severity()), notice.alert.id));
    let left_out = notices.len().saturating_sub(MAX_IN_NOTIFICATION);
    notices.truncate(MAX_IN_NOTIFICATION);
    Notification {
        notices,
        left_out: u64::try_from(left_out).unwrap_or(u64::MAX),
        unix_ms,
    }
}

/// The identity of what is wrong. A hash that nobody can find a second text for: a name that somebody
/// chose for a workflow must not hide another one's alert.
fn fingerprint(condition: &Condition) -> String {
    let identity = json!([
        condition.rule.as_str(),
        condition.variant,
        condition.scope,
        condition.budget,
    ]);
    let hash = Sha256::digest(identity.to_string());
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
