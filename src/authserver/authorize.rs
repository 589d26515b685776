//! The authorization endpoint (RFC 6749 section 3.1): it sends the browser to the sign-in, asks, or issues a code at once.
//!
//! `prompt=login` and `max_age` begin another sign-in at Frappe. Frappe has no such parameters: if the browser is signed in there it says
//! so without asking, and `auth_time` is when it did.

use http::Method;

use crate::authserver::asked::{Asked, read, refuse};
use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::code;
use crate::authserver::consent;
use crate::authserver::session;
use crate::authserver::signin::{self, Errand, Gate};
use crate::oauth::authorization::Refusal;
use crate::oauth::consent::{Circumstances, Step, fulfilled, next};
use crate::oauth::error::OAuthError;

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let pairs = if call.method == Method::POST { call.form_pairs()? } else { call.query_pairs()? };
    let asked = match read(call, &pairs).await? {
        Ok(asked) => asked,
        Err(refusal) => return refuse(call, refusal),
    };
    let Some(gate) = signin::gate(call) else { return signin::unconfigured(call) };
    let live = session::find(call).await?;
    let session = live.as_ref().map(|live| live.session());
    let grant = match session {
        Some(session) => code::grant_of(call, &session.user, &asked.client.id).await?,
        None => None,
    };
    let step = next(&Circumstances {
        client: &asked.client,
        request: &asked.request,
        session,
        grant: grant.as_ref().map(|(grant, _)| &grant.value),
        meanings: &call.issuer.meanings,
        keeps_site_tokens: call.issuer.keeps_site_tokens,
        now: call.now,
    });
    call.note.user = session.map(|session| session.user.clone());
    match (step, &live) {
        (Step::Refuse(error), _) => refuse(call, Refusal::Redirect(asked.request.redirect, error)),
        (Step::Ask, Some(live)) => consent::ask(call, &gate, &asked, live),
        (Step::Issue, Some(live)) => match code::issue(call, &gate, &asked, live).await? {
            Some(answer) => Ok(answer),
            None => sign_in(call, &gate, asked),
        },
        (Step::SignIn | Step::Ask | Step::Issue, _) => sign_in(call, &gate, asked),
    }
}

fn sign_in(call: &Call<'_>, gate: &Gate<'_>, asked: Asked) -> Result<Answer, Failure> {
    let fields = asked.fields.into_iter().filter_map(|(name, value)| match name.as_str() {
        "prompt" => Some((name, fulfilled(&value))).filter(|(_, value)| !value.is_empty()),
        // Fulfilled as well; and one of 0 would have the user sign in for ever.
        "max_age" => None,
        _ => Some((name, value)),
    });
    match signin::begin(call, gate, Errand::Authorize(fields.collect()))? {
        Some(answer) => Ok(answer),
        None => {
            let error = OAuthError::request("the request is too long to be kept while the user signs in; shorten state or nonce");
            refuse(call, Refusal::unseen(&asked.client, asked.request.redirect, error))
        }
    }
}
