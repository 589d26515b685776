//! Grants that users gave, looked at and ended; and users, of whom everything is ended at once.

use tracing::info;

use crate::admin::clients::{check_known, is_id};
use crate::admin::error::{AdminError, Code};
use crate::admin::message::{GrantList, GrantListQuery, GrantView, RevokedUser};
use crate::admin::operations::{Admin, Site, now};
use crate::admin::tokens::user;
use crate::oauth::records::{End, Grant};
use crate::policy::time::Timestamp;
use crate::store::cached::CLOCK_SKEW;
use crate::store::grants;
use crate::store::kept::Subject;

impl Admin {
    /// The grants of a user, to a client, or both; those that ended not long ago among them. There is no list of all.
    pub async fn grants(&self, site: &str, query: &GrantListQuery) -> Result<GrantList, AdminError> {
        let (_, ref site) = self.site(site)?;
        let found = match (query.user.as_deref().map(user).transpose()?, &query.client) {
            (Some(user), _) => grants::of_user(&*self.store, &site.name, user).await?,
            (None, Some(client)) => {
                check_known(site, client)?;
                grants::of_client(&*self.store, &site.name, client).await?
            }
            (None, None) => {
                return Err(AdminError::new(Code::RequestInvalid, "say whose grants: --user sam@example.com, --client web-shop, or both"));
            }
        };
        let more = found.len() >= grants::LISTED_MAX;
        let client = query.client.as_deref();
        let mut list = Vec::new();
        for grant in found.iter().filter(|grant| client.is_none_or(|client| *grant.value.client == *client)) {
            list.push(self.grant_view(site, &grant.value).await?);
        }
        if let (true, Some(client)) = (list.is_empty(), client) {
            // An empty list of a client that does not exist would hide a typing error.
            self.known_client(site, client).await?;
        }
        Ok(GrantList { grants: list, more })
    }

    pub async fn grant(&self, site: &str, id: &str) -> Result<GrantView, AdminError> {
        let (_, ref site) = self.site(site)?;
        let grant = self.known_grant(site, id).await?;
        let site_token = self.store.credential(&site.name, id).await?.is_some();
        Ok(GrantView { site_token: Some(site_token), ..self.grant_view(site, &grant).await? })
    }

    /// Ends a grant, its tokens, and the site's token that was kept with it. One that had ended stays as it is.
    pub async fn revoke_grant(&self, site: &str, id: &str) -> Result<GrantView, AdminError> {
        let (_, ref site) = self.site(site)?;
        self.known_grant(site, id).await?;
        let ended = grants::end(&*self.store, &site.name, id, End::Operator, now()).await;
        let grant = ended?.ok_or_else(|| unknown_grant(site, id))?;
        info!(site = &*site.name, grant = id, client = &*grant.client, user = &*grant.user, "grant revoked");
        Ok(GrantView { site_token: Some(false), ..self.grant_view(site, &grant).await? })
    }

    /// Voids everything of a user that was issued until now, and ends each of his grants.
    ///
    /// The mark comes first: it is one write, and from then on nothing of the user counts, whatever fails behind it.
    pub async fn revoke_user(&self, site: &str, name: &str) -> Result<RevokedUser, AdminError> {
        let (_, ref site) = self.site(site)?;
        let name = user(name)?;
        let now = now();
        self.void(&site.name, &[Subject::User(name)], now).await?;
        info!(site = &*site.name, user = name, "user revoked");
        let mut ended = 0;
        for grant in grants::of_user(&*self.store, &site.name, name).await? {
            if grant.value.ended.is_none() {
                grants::end(&*self.store, &site.name, &grant.value.id, End::Operator, now).await?;
                ended += 1;
            }
        }
        info!(site = &*site.name, user = name, grants = ended, "grants of the user revoked");
        Ok(RevokedUser { user: name.to_owned(), grants: ended, revoked: true })
    }

    async fn grant_view(&self, site: &Site, grant: &Grant) -> Result<GrantView, AdminError> {
        let mark = grants::mark_of(&*self.store, &site.name, &grant.client, &grant.user, Some(&grant.id)).await?;
        Ok(GrantView::of(grant, mark))
    }

    /// A text that cannot be an id is no grant's; the store would call it an error of its own.
    async fn known_grant(&self, site: &Site, id: &str) -> Result<Grant, AdminError> {
        if !is_id(id) {
            return Err(unknown_grant(site, id));
        }
        let found = grants::find(&*self.store, &site.name, id).await?;
        found.map(|grant| grant.value).ok_or_else(|| unknown_grant(site, id))
    }

    /// Revokes the subjects in one write: everything of theirs that was issued until now, by a gateway whose clock runs ahead as well.
    pub(super) async fn void(&self, site: &str, subjects: &[Subject<'_>], now: Timestamp) -> Result<Timestamp, AdminError> {
        Ok(self.store.revoke(site, subjects, now.plus(CLOCK_SKEW)).await?)
    }
}

fn unknown_grant(site: &Site, id: &str) -> AdminError {
    let message = format!(
        "site `{0}` has no grant `{1}`; `scopegate grant list --user USER --site {0}` shows those of a user",
        site.name,
        id.escape_debug()
    );
    AdminError::new(Code::GrantUnknown, message)
}
