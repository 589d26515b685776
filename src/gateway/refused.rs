//! What becomes of a request when the site answers 401 to the token that it gave the gate itself.
//!
//! The app's own token is good, so a 401 of the site is not for the app, which would throw that token away. But not every 401 is about a
//! token: an app's function may answer so of its own, after it has done its work. The site is asked which it is. Frappe judges the token
//! before it looks at anything else of a request (FACTS section 4), so a request whose token it refuses has done nothing there, and may
//! be sent again with another: that is no second time.

use std::sync::Arc;

use http::StatusCode;

use crate::audit;
use crate::gateway::Worker;
use crate::gateway::forward::Upward;
use crate::gateway::rejection::Rejection;
use crate::gateway::site::{Credential, Site};
use crate::gateway::site_tokens::{Opened, SiteClient};
use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::upstream::answer::Answer;
use crate::upstream::body::RequestBody;
use crate::upstream::frappe::SiteError;

impl Worker {
    /// The answer to a request that was answered 401 under `kept`: the same, where it was not about the token, or that to a second try
    /// with a new token. `token` is the app's. `body` is `None` where it is gone: an upload must be sent again by its client, and is told so by a 503.
    pub(super) async fn after_refusal(
        &self,
        site: &Site,
        upward: Upward<'_>,
        body: Option<RequestBody>,
        (kept, token): (Arc<Opened>, Option<TokenHash>),
        answer: Answer,
    ) -> Result<Answer, Rejection> {
        let Credential::Bearer(client) = &site.credential else { return Ok(answer) };
        if !self.refuses(client, &kept).await? {
            return Ok(answer);
        }
        // Its connection is free for what follows.
        drop(answer);
        let now = Timestamp::from_unix(audit::now().as_secs());
        let replaced = self.shared.site_tokens.replace(&self.holder(client, &kept.grant), &kept, now).await;
        let new = replaced.map_err(|lost| self.lost(lost))?;
        let Some(body) = body else { return Err(Rejection::CredentialAway) };
        if let Some(token) = token {
            self.still_lives(site, token).await?;
        }
        let answer = self.send(site, upward, body, &new.header()).await??;
        if answer.head.status == StatusCode::UNAUTHORIZED && self.refuses(client, &new).await? {
            return Err(self.credential_away(&format!("site `{}` refuses tokens that it has just given", client.name)));
        }
        Ok(answer)
    }

    /// Whether it is the token that the site says no to.
    async fn refuses(&self, client: &SiteClient, opened: &Opened) -> Result<bool, Rejection> {
        match client.at(&self.upstreams).user(opened.access_token()).await {
            Ok(_) => Ok(false),
            Err(SiteError::Refused) => Ok(true),
            Err(error) => Err(self.credential_away(&format!("site `{}` does not say whether it takes a token: {error}", client.name))),
        }
    }
}
