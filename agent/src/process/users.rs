//! User names, from the host's own table. Directory services are not asked: a look-up over the
//! network must not stand between a call and its record.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

const TABLE: &str = "/etc/passwd";

/// LIMIT: bytes of the table; a larger one is not read, and users have no names.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// Users by id, read again when the table changes.
#[derive(Debug, Default)]
pub(super) struct Users {
    by_id: BTreeMap<u32, User>,
    read_at: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    name: String,
    home: PathBuf,
}

impl Users {
    /// The first name that the table has for a user.
    pub(super) fn name(&mut self, uid: u32) -> Option<String> {
        self.user(uid).map(|user| user.name.clone())
    }

    /// The home that the table has for a user.
    pub(super) fn home(&mut self, uid: u32) -> Option<PathBuf> {
        let home = self.user(uid).map(|user| user.home.clone());
        home.filter(|home| home.is_absolute())
    }

    fn user(&mut self, uid: u32) -> Option<&User> {
        let table = fs::metadata(TABLE).ok()?;
        let changed_at = table.modified().ok();
        if changed_at != self.read_at && table.len() <= MAX_TABLE_BYTES {
            self.by_id = parse(&fs::read_to_string(TABLE).ok()?);
            self.read_at = changed_at;
        }
        self.by_id.get(&uid)
    }
}

/// Name, password, user id, group id, real name, home, shell (passwd(5)).
fn parse(table: &str) -> BTreeMap<u32, User> {
    let mut users = BTreeMap::new();
    for line in table.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(uid)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        if let Ok(uid) = uid.parse() {
            users.entry(uid).or_insert_with(|| User {
                name: name.to_owned(),
                home: PathBuf::from(fields.nth(2).unwrap_or_default()),
            });
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_user_counts_and_odd_lines_do_not() {
        let users = parse(
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n\n#\n+::::::\ndana:x:1000:1000::/home/dana:\n",
        );
        let user = |name: &str, home: &str| User {
            name: name.to_owned(),
            home: home.into(),
        };
        assert_eq!(
            users.into_iter().collect::<Vec<_>>(),
            [
                (0, user("root", "/root")),
                (1000, user("dana", "/home/dana"))
            ]
        );
    }
}
