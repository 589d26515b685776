//! Where a command finds the operations: in the gate that answers on the socket, or, where none runs, here on the store.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::net::UnixStream;

use crate::admin::error::{AdminError, Code};
use crate::admin::message::{
    Applied, ClientChange, ClientList, ClientView, ClientWithSecret, DeletedClient, GrantList, GrantListQuery, GrantView, IssuedToken,
    NewClient, NewToken, RevokedClient, RevokedToken, RevokedUser, Rotation, TokenList, TokenListQuery, TokenRef, TokenView, Wait,
};
use crate::admin::operations::{Admin, Rules};
use crate::admin::remote::Remote;
use crate::store;
use crate::store::Backend;
use crate::store::seal::SealKey;

/// The way to the operations.
pub enum Door {
    /// A gate is running.
    Remote(Remote),
    /// None is: this process works on the store.
    Local(Box<Admin>),
}

/// What the configuration says of where the operations are.
pub struct Place<'c> {
    /// Of the gate, if one runs.
    pub socket: &'c Path,
    pub store: &'c store::Settings,
    /// 64 hexadecimal digits.
    pub encryption_key: Option<&'c str>,
    pub rules: Rules,
}

impl Door {
    pub async fn open(place: Place<'_>) -> Result<Self, AdminError> {
        if let Some(remote) = running(place.socket).await? {
            return Ok(Self::Remote(remote));
        }
        let seal = place.encryption_key.map(SealKey::from_hex).transpose()?.map(Arc::new);
        let store = open_store(place.socket, place.store).await?;
        Ok(Self::Local(Box::new(Admin::new(place.rules, store, None, seal, Box::new(|| Value::Null)))))
    }

    pub async fn clients(&self, site: &str) -> Result<ClientList, AdminError> {
        match self {
            Self::Remote(gate) => gate.clients(site).await,
            Self::Local(admin) => admin.clients(site).await,
        }
    }

    pub async fn create_client(&self, site: &str, new: NewClient) -> Result<ClientWithSecret, AdminError> {
        match self {
            Self::Remote(gate) => gate.create_client(site, &new).await,
            Self::Local(admin) => admin.create_client(site, new).await,
        }
    }

    pub async fn client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        match self {
            Self::Remote(gate) => gate.client(site, id).await,
            Self::Local(admin) => admin.client(site, id).await,
        }
    }

    pub async fn update_client(&self, site: &str, id: &str, change: ClientChange) -> Result<ClientView, AdminError> {
        match self {
            Self::Remote(gate) => gate.update_client(site, id, &change).await,
            Self::Local(admin) => admin.update_client(site, id, change).await,
        }
    }

    pub async fn delete_client(&self, site: &str, id: &str) -> Result<DeletedClient, AdminError> {
        match self {
            Self::Remote(gate) => gate.delete_client(site, id).await,
            Self::Local(admin) => admin.delete_client(site, id).await,
        }
    }

    pub async fn disable_client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        match self {
            Self::Remote(gate) => gate.disable_client(site, id).await,
            Self::Local(admin) => admin.disable_client(site, id).await,
        }
    }

    pub async fn enable_client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        match self {
            Self::Remote(gate) => gate.enable_client(site, id).await,
            Self::Local(admin) => admin.enable_client(site, id).await,
        }
    }

    pub async fn rotate_secret(&self, site: &str, id: &str, rotation: Rotation) -> Result<ClientWithSecret, AdminError> {
        match self {
            Self::Remote(gate) => gate.rotate_secret(site, id, rotation).await,
            Self::Local(admin) => admin.rotate_secret(site, id, rotation).await,
        }
    }

    pub async fn revoke_client(&self, site: &str, id: &str) -> Result<RevokedClient, AdminError> {
        match self {
            Self::Remote(gate) => gate.revoke_client(site, id).await,
            Self::Local(admin) => admin.revoke_client(site, id).await,
        }
    }

    pub async fn tokens(&self, site: &str, query: &TokenListQuery) -> Result<TokenList, AdminError> {
        match self {
            Self::Remote(gate) => gate.tokens(site, query).await,
            Self::Local(admin) => admin.tokens(site, query).await,
        }
    }

    pub async fn issue_token(&self, site: &str, new: NewToken) -> Result<IssuedToken, AdminError> {
        match self {
            Self::Remote(gate) => gate.issue_token(site, &new).await,
            Self::Local(admin) => admin.issue_token(site, new).await,
        }
    }

    pub async fn inspect_token(&self, site: &str, token: &TokenRef) -> Result<TokenView, AdminError> {
        match self {
            Self::Remote(gate) => gate.inspect_token(site, token).await,
            Self::Local(admin) => admin.inspect_token(site, token).await,
        }
    }

    pub async fn revoke_token(&self, site: &str, token: &TokenRef) -> Result<RevokedToken, AdminError> {
        match self {
            Self::Remote(gate) => gate.revoke_token(site, token).await,
            Self::Local(admin) => admin.revoke_token(site, token).await,
        }
    }

    pub async fn grants(&self, site: &str, query: &GrantListQuery) -> Result<GrantList, AdminError> {
        match self {
            Self::Remote(gate) => gate.grants(site, query).await,
            Self::Local(admin) => admin.grants(site, query).await,
        }
    }

    pub async fn grant(&self, site: &str, id: &str) -> Result<GrantView, AdminError> {
        match self {
            Self::Remote(gate) => gate.grant(site, id).await,
            Self::Local(admin) => admin.grant(site, id).await,
        }
    }

    pub async fn revoke_grant(&self, site: &str, id: &str) -> Result<GrantView, AdminError> {
        match self {
            Self::Remote(gate) => gate.revoke_grant(site, id).await,
            Self::Local(admin) => admin.revoke_grant(site, id).await,
        }
    }

    pub async fn revoke_user(&self, site: &str, user: &str) -> Result<RevokedUser, AdminError> {
        match self {
            Self::Remote(gate) => gate.revoke_user(site, user).await,
            Self::Local(admin) => admin.revoke_user(site, user).await,
        }
    }

    pub async fn wait(&self, site: &str, wait: Wait) -> Result<Applied, AdminError> {
        match self {
            Self::Remote(gate) => gate.wait(site, wait).await,
            Self::Local(admin) => admin.wait(site, wait).await,
        }
    }
}

/// The gate that answers on `socket`; `None` where none does.
pub async fn running(socket: &Path) -> Result<Option<Remote>, AdminError> {
    match UnixStream::connect(socket).await {
        Ok(_) => Ok(Some(Remote::new(socket))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(AdminError::new(
            Code::SocketForbidden,
            format!(
                "the admin socket `{}` may not be opened by this user; run the command as root or as the gate's user",
                socket.display()
            ),
        )),
        Err(error) => {
            let message = format!("the admin socket `{}` cannot be opened: {error}; check `admin.socket`", socket.display());
            Err(AdminError::new(Code::Gate, message))
        }
    }
}

async fn open_store(socket: &Path, settings: &store::Settings) -> Result<Arc<dyn store::Store>, AdminError> {
    let made_now = match &settings.backend {
        Backend::Embedded { path } if !path.exists() => Some(path),
        Backend::Embedded { .. } | Backend::Redis { .. } => None,
    };
    let store = store::open(settings).await.map_err(|error| {
        let socket = socket.display();
        AdminError::new(Code::Store, format!("no gate answers on `{socket}`, and without one the store is opened here: {error}"))
    })?;
    made_now.map_or(Ok(()), |path| hand_over(path))?;
    Ok(store)
}

/// Gives a store that root made just now to the owner of its directory: the gate runs as that user, and could not open root's.
pub(super) fn hand_over(path: &Path) -> Result<(), AdminError> {
    let cannot = |error| {
        let message = format!("the new store `{}` cannot be given to the owner of its directory: {error}; use chown", path.display());
        AdminError::new(Code::Store, message)
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (file, directory) = (fs::metadata(path).map_err(cannot)?, fs::metadata(directory).map_err(cannot)?);
    if file.uid() == 0 && directory.uid() != 0 {
        chown(path, Some(directory.uid()), Some(directory.gid())).map_err(cannot)?;
    }
    Ok(())
}
