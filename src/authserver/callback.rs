//! Where Frappe sends the browser back to after the sign-in: its code is redeemed, and a short session begins here.
//!
//! Whatever comes of it, the cookie of that sign-in is gone afterwards: a callback counts once, in the browser that began it.

use http::StatusCode;
use http::header::SET_COOKIE;

use crate::authserver::asked::{self, Asked};
use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::cookies;
use crate::authserver::page::{self, Link, Message};
use crate::authserver::session;
use crate::authserver::signin::{self, Errand, Flow, Gate};
use crate::oauth::error::ErrorCode;
use crate::oauth::parameters::Parameters;
use crate::policy::query::Pairs;
use crate::store::kept::Subject;
use crate::upstream::frappe::SiteError;

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let Some(gate) = signin::gate(call) else { return signin::unconfigured(call) };
    let pairs = call.query_pairs()?;
    let parameters = Parameters::new(&pairs);
    let flow = match parameters.one("state")? {
        Some(state) => signin::flow(call, gate.key, state),
        // Without a state nothing but a no is believed, and that only where it is clear what it is a no to.
        None if parameters.one("error")?.is_some() => signin::only_flow(call, gate.key),
        None => None,
    };
    let Some((flow, cookie)) = flow else { return unknown(call) };
    let answer = finish(call, &gate, &flow, &parameters).await?;
    Ok(answer.with(SET_COOKIE, cookies::expire(&cookie)))
}

async fn finish(call: &mut Call<'_>, gate: &Gate<'_>, flow: &Flow, parameters: &Parameters<'_>) -> Result<Answer, Failure> {
    let asked = match &flow.errand {
        Errand::Authorize(fields) => match asked::read(call, &Pairs::from_fields(fields.clone())).await? {
            Ok(asked) => Some(asked),
            Err(refusal) => return asked::refuse(call, refusal),
        },
        Errand::Grants => None,
    };
    if parameters.one("error")?.is_some() {
        return denied(call, flow, asked);
    }
    let Some(code) = parameters.one("code")? else { return spent(call, flow) };
    let since = call.store().mark(&call.issuer.name, &[Subject::Latest]).await?;
    let redeemed = gate.frappe.redeem(code, &signin::redirect_uri(call), &flow.verifier, call.now).await;
    let tokens = match redeemed {
        Ok(tokens) => tokens,
        Err(SiteError::Refused) => return spent(call, flow),
        Err(error) => return away(call, flow, asked, &error),
    };
    let (user, profile) = match gate.frappe.profile(&tokens.access_token).await {
        Ok(known) => known,
        Err(SiteError::Refused) => return spent(call, flow),
        Err(error) => return away(call, flow, asked, &error),
    };
    call.note.user = Some(user.clone());
    let kept = if call.issuer.keeps_site_tokens {
        Some(&tokens)
    } else {
        // They have told who it is, and are good for nothing else here.
        gate.frappe.revoke(&tokens.access_token).await;
        None
    };
    if let Some(before) = session::find(call).await? {
        session::end(call, gate, &before).await?;
    }
    let Some(cookie) = session::begin(call, gate.key, (&user, since), profile, kept).await? else { return spent(call, flow) };
    let to = call.issuer.url_of(&flow.errand.path());
    Ok(page::redirect(&to).because("signed_in").with(SET_COOKIE, cookie))
}

/// The state is none that this browser began: somebody else's, an old one, or one that was used.
fn unknown(call: &Call<'_>) -> Result<Answer, Failure> {
    let message = Message {
        title: "This sign-in cannot be finished here",
        sentence: "It was begun in another browser, has been finished already, or is too old.",
        advice: "Go back to the app and begin again.",
        ..Message::new(call.issuer)
    };
    page::refuse(call.issuer, StatusCode::BAD_REQUEST, "sign_in_unknown", message)
}

/// Frappe does not take its own code back: mostly because the page was loaded twice.
fn spent(call: &Call<'_>, flow: &Flow) -> Result<Answer, Failure> {
    let message = Message {
        title: "The sign-in did not work",
        sentence: "What the sign-in page gave us has been used already, or has expired.",
        advice: "Nothing was shared with the app.",
        links: vec![Link::here(flow.errand.path(), "Sign in again")],
        ..Message::new(call.issuer)
    };
    page::refuse(call.issuer, StatusCode::BAD_REQUEST, "sign_in_spent", message)
}

fn denied(call: &Call<'_>, flow: &Flow, asked: Option<Asked>) -> Result<Answer, Failure> {
    if let Some(asked) = asked {
        return asked::unasked(call, asked, ErrorCode::AccessDenied, "the user did not sign in");
    }
    let message = Message {
        title: "You have not signed in",
        sentence: "The sign-in was stopped before it was done.",
        links: vec![Link::here(flow.errand.path(), "Sign in")],
        ..Message::new(call.issuer)
    };
    page::refuse(call.issuer, StatusCode::FORBIDDEN, "access_denied", message)
}

fn away(call: &Call<'_>, flow: &Flow, asked: Option<Asked>, error: &SiteError) -> Result<Answer, Failure> {
    call.shared.complaints.utter(&format!("a sign-in at site {} cannot be finished: {error}", call.issuer.name));
    if let Some(asked) = asked {
        let description = "the system in which users sign in does not answer; try again";
        return asked::unasked(call, asked, ErrorCode::TemporarilyUnavailable, description);
    }
    let message = Message {
        title: "Not available at the moment",
        sentence: "The system in which you have signed in does not answer.",
        advice: "Please try again in a minute.",
        links: vec![Link::here(flow.errand.path(), "Try again")],
        ..Message::new(call.issuer)
    };
    page::refuse(call.issuer, StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", message)
}
