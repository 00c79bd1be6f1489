//! What of a call decides its workflow.

use crate::attribution::{AttributedCall, Client};
use crate::event::{Ancestor, Container, Process};

/// LIMIT: digits of a container's id that name it, as the tools of containers show it.
const SHORT_ID: usize = 12;

/// What of a call decides its workflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Process, if anything is known of it.
    pub process: Option<&'a Process>,
    /// Name of the client.
    pub client: Option<&'a str>,
    /// Host that is called.
    pub host: Option<&'a str>,
}

impl<'a> From<&'a AttributedCall> for Subject<'a> {
    fn from(attributed: &'a AttributedCall) -> Self {
        let AttributedCall {
            call,
            process,
            client: Client { name, .. },
        } = attributed;
        Self {
            process: process.as_deref(),
            client: name.as_deref(),
            host: call.server_name.as_deref(),
        }
    }
}

impl<'a> Subject<'a> {
    pub(super) fn unit(self) -> Option<&'a str> {
        self.process?.unit.as_deref()
    }

    pub(super) fn user(self) -> Option<&'a str> {
        self.process?.user_name.as_deref()
    }

    pub(super) fn repo(self) -> Option<&'a str> {
        let checkout = self.process?.checkout.as_ref()?;
        Some(checkout.repo.as_str())
    }

    pub(super) fn branch(self) -> Option<&'a str> {
        self.process?.checkout.as_ref()?.branch.as_deref()
    }

    pub(super) fn exe(self) -> Option<&'a str> {
        self.process?.exe.as_deref().map(without_mark)
    }

    pub(super) fn comm(self) -> Option<&'a str> {
        some(&self.process?.comm)
    }

    pub(super) fn container(self) -> Option<&'a Container> {
        self.process?.container.as_ref()
    }

    pub(super) fn pod(self) -> Option<&'a str> {
        self.container()?.pod.as_ref()?.name.as_deref()
    }

    pub(super) fn namespace(self) -> Option<&'a str> {
        self.container()?.pod.as_ref()?.namespace.as_deref()
    }

    pub(super) fn ancestors(self) -> &'a [Ancestor] {
        self.process.map_or(&[], |process| &process.ancestors)
    }

    pub(super) fn matched_arguments(self) -> &'a [u16] {
        self.process
            .map_or(&[], |process| &process.matched_arguments)
    }
}

/// What names a container: its name, else its image, else the beginning of its id.
pub(super) fn container_name(container: &Container) -> Option<&str> {
    let name = container.name.as_deref().and_then(some);
    name.or_else(|| container.image.as_deref().and_then(some))
        .or_else(|| some(short_id(&container.id)))
}

/// The beginning of a container's id; all of one that is a name.
pub(super) fn short_id(id: &str) -> &str {
    let is_hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    id.get(..SHORT_ID).filter(|_| is_hexadecimal).unwrap_or(id)
}

/// The path of an executable without the kernel's mark of a deleted file.
pub(super) fn without_mark(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

/// Name of an executable's file.
pub(super) fn file_name(path: &str) -> Option<&str> {
    path.rsplit('/').next().and_then(some)
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
