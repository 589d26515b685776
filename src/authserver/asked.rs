//! An authorization request that was read, and how it is answered: the steps of a grant share it, each reading it anew.

use http::StatusCode;

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::clients;
use crate::authserver::page::{self, Message};
use crate::oauth::authorization::{self, AuthorizationRequest, Problem, Redirect, Refusal};
use crate::oauth::client::Client;
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

/// The no of a user who has read the question, and where it leads.
pub fn denied(call: &Call<'_>, asked: Asked) -> Result<Answer, Failure> {
    let error = OAuthError::new(ErrorCode::AccessDenied, "the user does not allow it");
    refuse(call, Refusal::Redirect(asked.request.redirect, error))
}

/// A no before the question could be asked, because of the user or of the site behind the gate.
pub fn unasked(call: &Call<'_>, asked: Asked, code: ErrorCode, description: &'static str) -> Result<Answer, Failure> {
    refuse(call, Refusal::unseen(&asked.client, asked.request.redirect, OAuthError::new(code, description)))
}
