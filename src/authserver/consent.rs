//! The consent page, and the answer to it.
//!
//! The page seals the request into a ticket for the session that it was shown to. The answer counts only with that ticket, in that
//! session, and the request in it is read anew: its client may have been switched off since. An answer that comes too late, or after
//! somebody else has signed in, is never a yes; the question is asked again.

use http::StatusCode;

use crate::authserver::asked::{self, Asked};
use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::code;
use crate::authserver::page::{self, Consent, foreign, forged};
use crate::authserver::session::{self, Live};
use crate::authserver::signin::{self, Errand, Gate};
use crate::authserver::signout;
use crate::authserver::ticket::{self, Purpose, Ticket};
use crate::oauth::parameters::Parameters;
use crate::oauth::redirect::{Destination, destination};
use crate::oauth::words::lines;
use crate::policy::query::Pairs;

/// Puts the request before the user.
pub fn ask(call: &Call<'_>, gate: &Gate<'_>, asked: &Asked, live: &Live) -> Result<Answer, Failure> {
    let Asked { client, request, fields } = asked;
    let session = live.session();
    let errand = Errand::Authorize(fields.clone());
    let back = match destination(&request.redirect.uri) {
        Some(Destination::Web(host)) => ("", host),
        Some(Destination::Loopback(host)) => ("an app on this computer,", host),
        Some(Destination::App(scheme)) => ("an app on this device,", scheme),
        None => ("", request.redirect.uri.as_str()),
    };
    let document = client.document.as_ref().map(|document| match destination(&document.url) {
        Some(Destination::Web(host)) => host,
        _ => document.url.as_str(),
    });
    let name = session.profile.name.as_deref();
    let consent = Consent {
        host: page::host(call.issuer),
        app: &client.name,
        initial: page::initial(name.unwrap_or(&session.user)),
        name: name.filter(|name| *name != &*session.user),
        user: &session.user,
        document,
        self_registered: client.self_registered,
        lines: lines(&request.scopes, &call.issuer.titles, &call.issuer.meanings),
        back,
        sign_out: signout::ticket(call, gate, &errand, live)?,
        ticket: ticket::seal(gate.key, &call.issuer.name, Purpose::Consent, &Ticket::new(&live.id, session.exp, errand))?,
    };
    Ok(page::show(call.issuer, StatusCode::OK, &consent, Some(&request.redirect.uri))?.because("consent_asked"))
}

/// The answer, by the form of the page.
pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let Some(gate) = signin::gate(call) else { return signin::unconfigured(call) };
    if !ticket::from_own_page(call) {
        return foreign(call);
    }
    let pairs = call.form_pairs()?;
    let parameters = Parameters::new(&pairs);
    let shown = parameters.one("ticket")?.unwrap_or_default();
    let Some(ticket) = ticket::open::<Ticket<Errand>>(gate.key, &call.issuer.name, Purpose::Consent, shown) else { return forged(call) };
    let Errand::Authorize(fields) = &ticket.what else { return forged(call) };
    let asked = match asked::read(call, &Pairs::from_fields(fields.clone())).await? {
        Ok(asked) => asked,
        Err(refusal) => return asked::refuse(call, refusal),
    };
    let again = || page::redirect(&call.issuer.url_of(&ticket.what.path())).refused("consent_stale");
    let Some(live) = session::find(call).await?.filter(|live| ticket.holds(&live.id, call.now)) else { return Ok(again()) };
    call.note.user = Some(live.session().user.clone());
    match parameters.one("decision")? {
        Some("allow") => Ok(code::issue(call, &gate, &asked, &live).await?.unwrap_or_else(again)),
        Some("deny") => asked::denied(call, asked),
        _ => forged(call),
    }
}
