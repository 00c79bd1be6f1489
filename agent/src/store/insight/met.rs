//! Sessions and kinds of calls of a window, for a walk over its calls.

use std::collections::HashMap;
use std::rc::Rc;

use crate::store::{Error, Reader, Window};

/// A session with a call in the window.
#[derive(Debug)]
pub(super) struct MetSession {
    pub(super) key: Rc<str>,
    pub(super) workflow: Rc<str>,
    pub(super) started_ms: i64,
    /// Whether a person wrote in it, and it lasted longer than a time that was asked for.
    pub(super) is_long: bool,
}

/// The provider and the model of a kind of calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MetModel {
    pub(super) provider: Rc<str>,
    pub(super) model: Option<Rc<str>>,
}

impl Reader {
    /// The sessions that may have a call in `window`, by id; long ones last more than `long_ms`.
    pub(super) fn met_sessions(
        &self,
        window: Window,
        long_ms: u32,
    ) -> Result<HashMap<i64, MetSession>, Error> {
        let mut workflows: HashMap<Option<i64>, Rc<str>> = HashMap::new();
        self.rows_of("SELECT workflow_id, name FROM workflow", [], |row| {
            workflows.insert(row.get(0)?, row.get(1)?);
            Ok(())
        })?;
        let nobody: Rc<str> = Rc::from("unattributed");
        let mut sessions = HashMap::new();
        self.rows(
            &format!(
                "SELECT session_id, session_key, workflow_id, started_ms,
                        last_human_turn_ms IS NOT NULL
                            AND last_request_ms - started_ms > {long_ms}
                 FROM session WHERE last_request_ms >= ?1 AND started_ms < ?2"
            ),
            window,
            |row| {
                let session = MetSession {
                    key: row.get(1)?,
                    workflow: Rc::clone(workflows.get(&row.get(2)?).unwrap_or(&nobody)),
                    started_ms: row.get(3)?,
                    is_long: row.get(4)?,
                };
                sessions.insert(row.get(0)?, session);
                Ok(())
            },
        )?;
        Ok(sessions)
    }

    /// All kinds of calls, by id, with what they have in common as one.
    pub(super) fn met_models(&self) -> Result<HashMap<i64, MetModel>, Error> {
        let mut kinds = HashMap::new();
        self.rows_of(
            "SELECT usage_key_id, provider, model FROM usage_key",
            [],
            |row| {
                let model = MetModel {
                    provider: row.get(1)?,
                    model: row.get(2)?,
                };
                kinds.insert(row.get(0)?, model);
                Ok(())
            },
        )?;
        Ok(kinds)
    }
}
