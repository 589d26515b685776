//! The authorization endpoint (RFC 6749 section 3.1): it sends the browser to the sign-in, asks, or issues a code at once.
//!
//! `prompt=login` and `max_age` begin another sign-in at Frappe. Frappe has no such parameters: if the browser is signed in there it says
//! so without asking, and `auth_time` is when it did.

use http::{Method, StatusCode};

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::clients;
use crate::authserver::code;
use crate::authserver::consent;
use crate::authserver::page::{self, Message};
use crate::authserver::session;
use crate::authserver::signin::{self, Errand, Gate};
use crate::oauth::authorization::{self, AuthorizationRequest, Problem, Redirect, Refusal};
use crate::oauth::client::Client;
use crate::oauth::consent::{Circumstances, Step, fulfilled, next};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::parameters::Parameters;
use crate::oauth::redirect;
use crate::policy::query::Pairs;

/// The parameters that mean something, and are kept from step to step.
const KNOWN: [&str; 12] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "resource",
];

/// A request that was read, whoever made it.
pub struct Asked {
    pub client: Client,
    pub request: AuthorizationRequest,
    /// It, in its parameters: what is read again at the next step.
    pub fields: Vec<(String, String)>,
}

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

/// Reads a request and finds its client. For every step anew: the client may have been switched off since the last.
pub async fn read(call: &mut Call<'_>, pairs: &Pairs) -> Result<Result<Asked, Refusal>, Failure> {
    let parameters = Parameters::new(pairs);
    let id = match authorization::client_id(&parameters) {
        Ok(id) => id,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let client = clients::find(call, id).await?;
    call.note.client = client.as_ref().map(|client| client.id.clone());
    let request = match authorization::read(&parameters, client.as_ref(), call.issuer.rules()) {
        Ok(request) => request,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Some(client) = client else { return Ok(Err(Refusal::Page(Problem::ClientUnknown))) };
    call.note.scopes = Some(request.scopes.as_str().into());
    let known = pairs.iter().filter(|(name, value)| KNOWN.contains(name) && !value.is_empty());
    let fields = known.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Ok(Asked { client, request, fields }))
}

/// Says no: to the client by redirect, or to the user on a page where nobody is known to whom it could be sent.
pub fn refuse(call: &Call<'_>, refusal: Refusal) -> Result<Answer, Failure> {
    match refusal {
        Refusal::Page(problem) => {
            let message = Message {
                title: "This link does not work",
                sentence: problem.sentence(),
                advice: "Nothing was shared with anyone. Please tell whoever runs the app.",
                ..Message::new(call.issuer)
            };
            page::refuse(call.issuer, StatusCode::BAD_REQUEST, problem.code(), message)
        }
        Refusal::Untrusted(error) => Err(error.into()),
        Refusal::Redirect(to, error) => {
            let fields = [("error", error.code.as_str()), ("error_description", &*error.description)];
            Ok(redirect(call, &to, &fields).refused(error.code.as_str()))
        }
    }
}

/// Sends the browser back to the app: with `state`, and with the issuer, so that an app of many providers knows whose answer it is
/// (RFC 9207).
pub fn redirect(call: &Call<'_>, to: &Redirect, fields: &[(&str, &str)]) -> Answer {
    let state = to.state.as_deref().map(|state| ("state", state));
    let all = fields.iter().copied().chain(state).chain([("iss", &*call.issuer.url)]);
    let mut query = String::new();
    Pairs::from_fields(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()).write(&mut query);
    page::redirect(&redirect::with_query(&to.uri, &query))
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

/// The no of a user who has read the question, and where it leads.
pub fn denied(call: &Call<'_>, asked: Asked) -> Result<Answer, Failure> {
    let error = OAuthError::new(ErrorCode::AccessDenied, "the user does not allow it");
    refuse(call, Refusal::Redirect(asked.request.redirect, error))
}

/// A no before the question could be asked, because of the user or of the site behind the gate.
pub fn unasked(call: &Call<'_>, asked: Asked, code: ErrorCode, description: &'static str) -> Result<Answer, Failure> {
    refuse(call, Refusal::unseen(&asked.client, asked.request.redirect, OAuthError::new(code, description)))
}
