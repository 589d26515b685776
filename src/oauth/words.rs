//! What a scope lets an app do, in the words of whoever is asked for it.

use std::collections::HashMap;

use crate::policy::coverage::{Meanings, covers};
use crate::policy::scope::{Effect, Scope, Scopes};

/// One line of a consent: what the app could do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// A sentence more, where a few words would say too little.
    pub detail: Option<&'static str>,
    /// Whether it should make a person stop and think.
    pub grave: bool,
}

/// A line for each scope, the gravest first, else in the order asked. `titles` are the operator's words for its own names.
pub fn lines(scopes: &Scopes, titles: &HashMap<Box<str>, String>, meanings: &Meanings) -> Vec<Line> {
    let mut lines: Vec<Line> =
        scopes.words().filter_map(|word| Scope::parse(word).ok()).map(|scope| line(&scope, titles, meanings)).collect();
    lines.sort_by_key(|line| !line.grave);
    lines
}

fn line(scope: &Scope, titles: &HashMap<Box<str>, String>, meanings: &Meanings) -> Line {
    match scope {
        Scope::All => Line {
            text: "Do everything that you can do".to_owned(),
            detail: Some("Full access: it could read, change and delete whatever you can, and act in your name."),
            grave: true,
        },
        Scope::Broad(Effect::Read) => plain("See every record that you can see"),
        Scope::Broad(Effect::Write) => plain("Create and change every record that you can change"),
        Scope::Broad(Effect::Delete) => Line {
            grave: true,
            detail: Some("What is deleted cannot be brought back."),
            ..plain("Delete every record that you can delete")
        },
        Scope::Broad(Effect::Call) => plain("Run every function that you can run"),
        Scope::Doctype(Effect::Read, slug) => plain(format!("See {} records", doctype(slug))),
        Scope::Doctype(Effect::Write, slug) => plain(format!("Create and change {} records", doctype(slug))),
        Scope::Doctype(Effect::Delete, slug) => plain(format!("Delete {} records", doctype(slug))),
        Scope::Doctype(Effect::Call, slug) => plain(format!("Run the functions of {} records", doctype(slug))),
        Scope::Rpc(name) => plain(format!("Run the function {name}")),
        Scope::RpcsBelow(prefix) => plain(format!("Run every function whose name begins with {prefix}")),
        Scope::Identity(name) => plain(match &**name {
            "profile" => "See your name and picture",
            "email" => "See your email address",
            _ => "Know who you are",
        }),
        Scope::Named(name) => {
            let title = titles.get(name).map(|title| title.trim()).filter(|title| !title.is_empty());
            let text = title.map_or_else(|| format!("Whatever \u{201c}{name}\u{201d} stands for here"), str::to_owned);
            // Whatever the operator calls it: a name for everything is everything.
            let everything = meanings.get(name).is_some_and(|granted| covers(granted, "all", meanings));
            let detail = everything.then_some("This is full access: whatever you can do, the app could do.");
            Line { text, detail, grave: everything }
        }
    }
}

fn plain(text: impl Into<String>) -> Line {
    Line { text: text.into(), detail: None, grave: false }
}

/// `sales-order` as people know it: `Sales Order`.
fn doctype(slug: &str) -> String {
    let mut title = String::with_capacity(slug.len());
    for word in slug.split('-').filter(|word| !word.is_empty()) {
        if !title.is_empty() {
            title.push(' ');
        }
        let mut letters = word.chars();
        title.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        title.push_str(letters.as_str());
    }
    if title.is_empty() { slug.to_owned() } else { title }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scopes: &str) -> Vec<Line> {
        let titles = HashMap::from([("crm".into(), "Work with your customers".to_owned()), ("blank".into(), "  ".to_owned())]);
        let meanings = Meanings::from([
            ("crm".into(), Scopes::parse("read:lead write:lead").unwrap()),
            ("root".into(), Scopes::parse("all").unwrap()),
        ]);
        lines(&Scopes::parse(scopes).unwrap(), &titles, &meanings)
    }

    #[test]
    fn every_scope_has_words() {
        let rows = [
            ("all", "Do everything that you can do", true),
            ("read", "See every record that you can see", false),
            ("write", "Create and change every record that you can change", false),
            ("delete", "Delete every record that you can delete", true),
            ("read:sales-order", "See Sales Order records", false),
            ("write:todo", "Create and change Todo records", false),
            ("delete:sales-invoice", "Delete Sales Invoice records", false),
            ("read:éclair-form", "See Éclair Form records", false),
            ("read:-", "See - records", false),
            ("call:my_app.api.quote", "Run the function my_app.api.quote", false),
            ("call:my_app.*", "Run every function whose name begins with my_app.", false),
            ("openid", "Know who you are", false),
            ("profile", "See your name and picture", false),
            ("email", "See your email address", false),
            ("crm", "Work with your customers", false),
            ("blank", "Whatever \u{201c}blank\u{201d} stands for here", false),
            ("nobody-knows", "Whatever \u{201c}nobody-knows\u{201d} stands for here", false),
            ("root", "Whatever \u{201c}root\u{201d} stands for here", true),
        ];
        for (scope, text, grave) in rows {
            let lines = of(scope);
            assert_eq!(lines.len(), 1, "{scope}");
            assert_eq!((lines[0].text.as_str(), lines[0].grave), (text, grave), "{scope}");
            assert_eq!(lines[0].detail.is_some(), grave, "{scope}: what is grave is explained");
        }
    }

    #[test]
    fn the_gravest_comes_first_and_none_is_lost() {
        let texts: Vec<String> = of("openid read:lead all crm").into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["Do everything that you can do", "Know who you are", "See Lead records", "Work with your customers"]);
    }
}
