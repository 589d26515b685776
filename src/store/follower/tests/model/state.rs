//! What the gates are held to: what was issued, and what was taken back, by whom, and who must have heard of it.

use crate::policy::token::TokenHash;

/// A gateway, with another number each time it is started.
pub type Who = usize;

/// Something that was done and acknowledged; or, by nobody, something that may have been done.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    pub number: u64,
    pub by: Option<Who>,
    /// Whether the store has it: not if it went back in time, until one who knows has written it back.
    pub stored: bool,
}

/// From where it is looked.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub who: Who,
    /// The last act that had been done when its last completed read of the log was sent.
    pub read: u64,
    /// Whether the store itself is asked.
    pub asks: bool,
}

impl View {
    fn knows(&self, act: &Act) -> bool {
        act.by.is_some_and(|by| by == self.who || act.number <= self.read || self.asks && act.stored)
    }
}

#[derive(Clone, Debug)]
pub struct Token {
    pub name: String,
    pub client: usize,
    pub user: usize,
    pub grant: Option<usize>,
    pub issued: u64,
    pub ended: Vec<Act>,
    /// Whether it is certain that the store has it, and that nothing took it back but what has ended it.
    pub sure: bool,
}

#[derive(Clone, Debug)]
pub struct App {
    /// Whether its tokens are let through, since when.
    pub states: Vec<(Act, bool)>,
    /// Whether there is one of that id, where that is certain.
    pub there: Option<bool>,
    pub changed: u64,
    pub sure: bool,
    /// Where that is certain.
    pub secret: Option<TokenHash>,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub acts: u64,
    pub tokens: Vec<Token>,
    pub apps: Vec<App>,
}

impl Model {
    pub fn new(apps: usize) -> Self {
        let never = (Act { number: 0, by: Some(0), stored: true }, false);
        let app = App { states: vec![never], there: Some(false), changed: 0, sure: true, secret: None };
        Self { acts: 0, tokens: Vec::new(), apps: vec![app; apps] }
    }

    pub fn act(&mut self, by: Option<Who>) -> Act {
        self.acts += 1;
        Act { number: self.acts, by, stored: true }
    }

    /// Whether a yes is right.
    pub fn may(&self, view: View, token: usize) -> bool {
        let token = &self.tokens[token];
        let states = &self.apps[token.client].states;
        let known = states.iter().rposition(|(act, _)| view.knows(act)).unwrap_or(0);
        !token.ended.iter().any(|act| view.knows(act)) && states[known..].iter().any(|(_, lives)| *lives)
    }

    /// Whether a no is wrong.
    pub fn must(&self, token: usize) -> bool {
        let token = &self.tokens[token];
        let app = &self.apps[token.client];
        token.sure && token.ended.is_empty() && app.sure && app.lives()
    }

    /// The tokens of which `concerns` says so end; or, where that was not acknowledged, may have ended.
    pub fn end(&mut self, by: Option<Who>, concerns: impl Fn(&Token) -> bool) {
        let act = self.act(by);
        for token in self.tokens.iter_mut().filter(|token| concerns(token)) {
            match by {
                Some(_) => token.ended.push(act),
                None => token.sure = false,
            }
        }
    }

    pub fn switch(&mut self, by: Option<Who>, app: usize, lives: bool) {
        let act = self.act(by);
        let app = &mut self.apps[app];
        (app.sure, app.changed) = (by.is_some(), act.number);
        // That it may have been taken away forbids nothing.
        if by.is_some() || lives {
            app.states.push((act, lives));
        }
    }

    /// The store goes back to when `acts` had been done. What nobody who runs knows of, is lost.
    pub fn rewind(&mut self, acts: u64, views: &[View]) {
        let remembered = |act: &mut Act| {
            act.stored &= act.number <= acts;
            act.stored || views.iter().any(|view| view.knows(act))
        };
        for token in &mut self.tokens {
            let before = token.ended.len();
            token.ended.retain_mut(remembered);
            token.sure &= token.issued <= acts && token.ended.len() == before;
        }
        for app in &mut self.apps {
            let before = app.states.len();
            // What may have been done may be undone now.
            app.states.retain_mut(|(act, lives)| *lives && act.by.is_none() || remembered(act));
            if app.changed > acts {
                // Its record may come back, but it was deleted all the same.
                app.there = app.there.filter(|there| !there && app.states.len() == before);
                (app.sure, app.secret) = (false, None);
            }
        }
    }

    /// Whoever looks from `view` has written back what was lost.
    pub fn write_back(&mut self, view: View) {
        let ended = self.tokens.iter_mut().flat_map(|token| &mut token.ended);
        let states = self.apps.iter_mut().flat_map(|app| app.states.iter_mut().map(|(act, _)| act));
        for act in ended.chain(states) {
            act.stored |= view.knows(act);
        }
    }
}

impl App {
    pub fn lives(&self) -> bool {
        self.states.last().is_some_and(|(_, lives)| *lives)
    }
}
