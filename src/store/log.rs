//! The revocation log of a site: what its entries say, and how they are written.
//!
//! Whoever takes something back enters it here, and every gateway reads on from where it stopped (`follower`). The log is trimmed, so
//! whoever was away for too long finds its place gone, and starts over.
//!
//! The form is public: pairs of a field and its value, the first of which names the kind.
//!
//! ```text
//! mark <subject> at <second>               `notbefore` has this mark of the subject
//! token <sha256> at <second> exp <second>  what was issued under that hash until `at` is void; `exp` is its end in any case
//! look <sha256>                            another token stands under that hash: look it up again
//! client <id>                              the client's record was written or deleted: look it up again
//! wait <name>                              whoever has read until here says so under that name
//! begin 1                                  there was no log before this
//! ```

use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;

/// Entries that a log keeps, about: at a thousand revocations a second it reaches back ten seconds. Whoever was away for longer starts over.
pub const ENTRIES_MAX: u64 = 10_000;

/// What was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The first of a log, so that there is always one to hold on to.
    Begin,
    /// `subject` as `Subject::field` writes it.
    Mark {
        subject: Box<str>,
        at: Timestamp,
    },
    /// `exp` is the token's: from then on nobody need remember it.
    Token {
        hash: TokenHash,
        at: Timestamp,
        exp: Timestamp,
    },
    Look {
        hash: TokenHash,
    },
    Client {
        id: Box<str>,
    },
    Wait {
        name: Box<str>,
    },
    /// Written by a later build, or by a tool that errs. It may have taken anything back.
    Unknown,
}

/// An entry in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where the store has it; its own business.
    pub place: Box<str>,
    pub entry: Entry,
}

impl Entry {
    /// The pairs, one after the other.
    pub fn write(&self) -> Vec<String> {
        let text = |at: &Timestamp| at.unix().to_string();
        match self {
            Self::Begin => vec!["begin".to_owned(), "1".to_owned()],
            Self::Mark { subject, at } => vec!["mark".to_owned(), subject.to_string(), "at".to_owned(), text(at)],
            Self::Token { hash, at, exp } => {
                vec!["token".to_owned(), hash.to_string(), "at".to_owned(), text(at), "exp".to_owned(), text(exp)]
            }
            Self::Look { hash } => vec!["look".to_owned(), hash.to_string()],
            Self::Client { id } => vec!["client".to_owned(), id.to_string()],
            Self::Wait { name } => vec!["wait".to_owned(), name.to_string()],
            Self::Unknown => Vec::new(),
        }
    }

    /// What was written. Fields that a later build adds behind these are passed over.
    pub fn read(pairs: &[String]) -> Self {
        Self::known(pairs).unwrap_or(Self::Unknown)
    }

    fn known(pairs: &[String]) -> Option<Self> {
        let [kind, what, rest @ ..] = pairs else { return None };
        let second = |field: &str| {
            let pair = rest.chunks_exact(2).find(|pair| pair[0] == field)?;
            pair[1].parse().ok().map(Timestamp::from_unix)
        };
        match kind.as_str() {
            "begin" => Some(Self::Begin),
            "mark" => Some(Self::Mark { subject: what.as_str().into(), at: second("at")? }),
            "token" => Some(Self::Token { hash: TokenHash::from_hex(what)?, at: second("at")?, exp: second("exp")? }),
            "look" => Some(Self::Look { hash: TokenHash::from_hex(what)? }),
            "client" => Some(Self::Client { id: what.as_str().into() }),
            "wait" => Some(Self::Wait { name: what.as_str().into() }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let at = Timestamp::from_unix;
        let hash = TokenHash::of(b"a");
        for (entry, text) in [
            (Entry::Begin, "begin 1".to_owned()),
            (Entry::Mark { subject: "user:a:b@example.com".into(), at: at(7) }, "mark user:a:b@example.com at 7".to_owned()),
            (Entry::Token { hash, at: at(7), exp: at(9) }, format!("token {hash} at 7 exp 9")),
            (Entry::Look { hash }, format!("look {hash}")),
            (Entry::Client { id: "crm".into() }, "client crm".to_owned()),
            (Entry::Wait { name: "ab12".into() }, "wait ab12".to_owned()),
        ] {
            assert_eq!(entry.write(), pairs(&text));
            assert_eq!(Entry::read(&pairs(&text)), entry);
            assert_eq!(Entry::read(&pairs(&format!("{text} more 1"))), entry, "a later build adds a field");
        }
        let spaced = Entry::Mark { subject: "user:a b\n".into(), at: at(7) };
        assert_eq!(Entry::read(&spaced.write()), spaced);
        let turned = pairs(&format!("token {hash} exp 9 at 7"));
        assert_eq!(Entry::read(&turned), Entry::Token { hash, at: at(7), exp: at(9) });
    }

    #[test]
    fn what_cannot_be_read_may_mean_anything() {
        let hash = TokenHash::of(b"a");
        for text in [
            "",
            "mark",
            "mark client:crm",
            "mark client:crm at",
            "mark client:crm at soon",
            "mark client:crm at -1",
            "token abc at 1 exp 2",
            "look",
            "look abc",
            "secret crm",
            "Client crm",
            &format!("token {hash}"),
            &format!("token {hash} at 1"),
            &format!("token {hash} exp 1"),
        ] {
            assert_eq!(Entry::read(&pairs(text)), Entry::Unknown, "{text}");
        }
    }
}
