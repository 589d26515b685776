//! The page on which users see which apps they have let in, and withdraw it.

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::page::{self, App, foreign, forged};
use crate::authserver::revoke::end_grant;
use crate::authserver::session::{self, Live};
use crate::authserver::signin::{self, Errand, Gate};
use crate::authserver::signout;
use crate::authserver::ticket::{self, Purpose, Ticket};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::parameters::Parameters;
use crate::oauth::records::{End, Grant};
use crate::oauth::words::lines;
use crate::policy::time::Timestamp;
use crate::store::grants::{find, mark_of, of_user};

const PATH: &str = "/oauth/grants";

/// Which grant has just been withdrawn, for the page to say so.
const WITHDRAWN: &str = "withdrawn";

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let Some(gate) = signin::gate(call) else { return signin::unconfigured(call) };
    let withdraw = call.method == Method::POST;
    if withdraw && !ticket::from_own_page(call) {
        return foreign(call);
    }
    let Some(live) = session::find(call).await? else {
        let too_long = || OAuthError::new(ErrorCode::ServerError, "a sign-in does not fit into a cookie");
        return Ok(signin::begin(call, &gate, Errand::Grants)?.ok_or_else(too_long)?);
    };
    call.note.user = Some(live.session().user.clone());
    if withdraw { take_back(call, &gate, &live).await } else { list(call, &gate, &live).await }
}

async fn list(call: &Call<'_>, gate: &Gate<'_>, live: &Live) -> Result<Answer, Failure> {
    let session = live.session();
    let (store, site, user) = (call.store(), &*call.issuer.name, &session.user);
    let pairs = call.query_pairs()?;
    let just = Parameters::new(&pairs).one(WITHDRAWN)?;
    let (mut apps, mut withdrawn) = (Vec::new(), None);
    for grant in of_user(store, site, user).await? {
        let grant = grant.value;
        // Only what has really ended: a link may say anything.
        if grant.ended.is_some() && just == Some(&*grant.id) {
            withdrawn = Some(name_of(call, &grant.client).await?);
        }
        if !grant.live(mark_of(store, site, &grant.client, user, Some(&grant.id)).await?) {
            continue;
        }
        let id = Arc::clone(&grant.id);
        apps.push(App {
            name: name_of(call, &grant.client).await?,
            lines: lines(&grant.scopes, &call.issuer.titles, &call.issuer.meanings),
            since: day(grant.created),
            used: day(grant.used),
            ticket: ticket::seal(gate.key, site, Purpose::Withdraw, &Ticket::new(&live.id, session.exp, id))?,
        });
    }
    let name = session.profile.name.as_deref();
    let page = page::Grants {
        host: page::host(call.issuer),
        initial: page::initial(name.unwrap_or(user)),
        name: name.filter(|name| *name != &**user),
        user,
        withdrawn,
        apps,
        sign_out: signout::ticket(call, gate, &Errand::Grants, live)?,
    };
    page::show(call.issuer, StatusCode::OK, &page, None)
}

async fn take_back(call: &mut Call<'_>, gate: &Gate<'_>, live: &Live) -> Result<Answer, Failure> {
    let pairs = call.form_pairs()?;
    let shown = Parameters::new(&pairs).one("ticket")?.unwrap_or_default();
    let (store, site) = (call.store(), &*call.issuer.name);
    let Some(ticket) = ticket::open::<Ticket<Arc<str>>>(gate.key, site, Purpose::Withdraw, shown) else { return forged(call) };
    if !ticket.holds(&live.id, call.now) {
        // Of an older sign-in: the page is shown anew, and nothing has ended.
        return Ok(page::redirect(&call.issuer.url_of(PATH)).refused("form_stale"));
    }
    let Some(grant) = find(store, site, &ticket.what).await?.filter(|grant| grant.value.user == live.session().user) else {
        return Ok(page::redirect(&call.issuer.url_of(PATH)));
    };
    withdraw(call, gate, &grant.value).await?;
    call.note.client = Some(Arc::clone(&grant.value.client));
    let to = format!("{PATH}?{WITHDRAWN}={}", grant.value.id);
    Ok(page::redirect(&call.issuer.url_of(&to)).because("withdrawn"))
}

async fn name_of(call: &Call<'_>, client: &str) -> Result<String, Failure> {
    let found = call.store().client(&call.issuer.name, client).await?;
    Ok(found.map_or_else(|| format!("An app that is gone ({client})"), |client| client.name))
}

/// Ends the grant here, and then, if the site can be reached, its tokens there.
async fn withdraw(call: &Call<'_>, gate: &Gate<'_>, grant: &Grant) -> Result<(), Failure> {
    let (store, site) = (call.store(), &*call.issuer.name);
    let sealed = store.credential(site, &grant.id).await?;
    end_grant(call, &grant.id, End::User).await?;
    if let Some(tokens) = sealed.and_then(|sealed| session::open(gate.key, site, &grant.id, &sealed)) {
        gate.frappe.revoke(&tokens.access_token).await;
    }
    Ok(())
}

/// A day, for machines and for people.
fn day(at: Timestamp) -> (String, String) {
    let day = i64::try_from(at.unix()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).unwrap_or_default();
    (day.strftime("%Y-%m-%d").to_string(), day.strftime("%-d %B %Y").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_for_machines_and_people() {
        assert_eq!(day(Timestamp::from_unix(1_795_454_908)), ("2026-11-23".to_owned(), "23 November 2026".to_owned()));
        assert_eq!(day(Timestamp::from_unix(u64::MAX)).0, "1970-01-01", "a second beyond all calendars");
    }
}
