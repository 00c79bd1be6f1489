//! User names, from the host's own table. Directory services are not asked: a look-up over the
//! network must not stand between a call and its record.

use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

const TABLE: &str = "/etc/passwd";

/// LIMIT: bytes of the table; a larger one is not read, and users have no names.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// Names by user id, read again when the table changes.
#[derive(Debug, Default)]
pub(super) struct Users {
    names: BTreeMap<u32, String>,
    read_at: Option<SystemTime>,
}

impl Users {
    /// The first name that the table has for a user.
    pub(super) fn name(&mut self, uid: u32) -> Option<String> {
        let table = fs::metadata(TABLE).ok()?;
        let changed_at = table.modified().ok();
        if changed_at != self.read_at && table.len() <= MAX_TABLE_BYTES {
            self.names = parse(&fs::read_to_string(TABLE).ok()?);
            self.read_at = changed_at;
        }
        self.names.get(&uid).cloned()
    }
}

fn parse(table: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in table.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(uid)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        if let Ok(uid) = uid.parse() {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_user_counts_and_odd_lines_do_not() {
        let names = parse(
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n\n#\n+::::::\ndana:x:1000:1000::/:\n",
        );
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            [(0, "root".to_owned()), (1000, "dana".to_owned())]
        );
    }
}
