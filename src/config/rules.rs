//! The operator's rules as the policy takes them: catalogue entries, opened names and paths, named scopes.

use crate::admin;
use crate::config::checked::{Config, Credential, RpcEntry, Site};
use crate::policy::catalogue::{Catalogue, Methods, Rpc};
use crate::policy::classify::{OpenPath, Rules};
use crate::policy::decision::NamedScopes;
use crate::policy::operation::Verb;
use crate::store::cached::SiteId;

/// What holds for `site`. An entry that the catalogue refuses is an error that names it.
pub fn rules_of(config: &Config, site: &Site) -> Result<Rules, String> {
    let entries = config.rpcs.iter().filter(|entry| entry.sites.is_empty() || entry.sites.iter().any(|name| **name == *site.name));
    let catalogue = Catalogue::builtin().with(entries.map(rpc_of).collect())?;
    let mut paths: Vec<OpenPath> = site
        .routes
        .iter()
        .map(|route| OpenPath {
            path: route.path.clone(),
            verbs: route.methods.iter().filter_map(|method| Verb::parse(method.as_str())).collect(),
            scope: route.scope.to_string().into(),
        })
        .collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.path.len()));
    Ok(Rules { catalogue, opened: site.allow_sensitive.clone(), paths })
}

/// What the operator's names for scopes stand for.
pub fn named_scopes(config: &Config) -> NamedScopes {
    NamedScopes::new(config.scopes.iter().map(|scope| (scope.name.clone(), scope.grants.clone())))
}

/// What the admin operations hold to. `id` says what the cache calls a site.
pub fn admin_rules(config: &Config, id: impl Fn(&str) -> SiteId) -> admin::operations::Rules {
    let sites = config.sites.iter().map(|site| admin::operations::Site {
        name: site.name.clone(),
        id: id(&site.name),
        takes_api_keys: match site.credential {
            // Under `bearer` a client that speaks for itself has no user's token to act by.
            Credential::ApiKey(_) | Credential::Bearer => true,
            Credential::Forward => false,
        },
    });
    let scopes = config.scopes.iter().map(|scope| (scope.name.clone(), scope.grants.clone()));
    admin::operations::Rules { sites: sites.collect(), scopes: scopes.collect() }
}

fn rpc_of(entry: &RpcEntry) -> Rpc {
    let methods = entry.methods.iter().filter_map(|method| Methods::named(method.as_str())).fold(Methods::NONE, |all, one| all | one);
    let mut rpc = Rpc::new(entry.name.to_string(), entry.effect, methods);
    if let Some(argument) = &entry.doctype {
        rpc = rpc.on(argument.to_string());
    }
    if let Some(argument) = &entry.document {
        rpc = rpc.on_document(argument.to_string());
    }
    if let Some(argument) = &entry.documents {
        rpc = rpc.on_documents(argument.to_string());
    }
    rpc
}
