//! What the demo has on disk: a directory of its own with a certificate, gone with it.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::app::Failure;
use crate::app::demo::random;

/// A directory of this process's own, gone with it.
pub struct Directory(PathBuf);

impl Directory {
    pub fn create() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("scopegate-demo-{}", random::<8>()?));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::failed(format!("cannot make the directory `{}`: {error}", path.display())))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", path.display())))?;
        Ok(path)
    }

    /// A certificate authority of the demo's own, and a certificate for this machine that it signed. Its key is thrown away.
    pub fn certificates(&self) -> Result<PathBuf, Failure> {
        let failed = |error: rcgen::Error| Failure::failed(format!("no certificate: {error}"));
        let named = |name: &str, names: &[&str]| -> Result<CertificateParams, rcgen::Error> {
            let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            Ok(params)
        };
        let mut authority = named("scopegate demo authority", &[]).map_err(failed)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().map_err(failed)?;
        let authority_cert = authority.self_signed(&authority_key).map_err(failed)?;
        let issuer = Issuer::new(authority, authority_key);
        let mut leaf = named("scopegate demo", &["localhost", "127.0.0.1", "::1"]).map_err(failed)?;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate().map_err(failed)?;
        let leaf_cert = leaf.signed_by(&leaf_key, &issuer).map_err(failed)?;
        self.write("server.pem", &leaf_cert.pem())?;
        self.write("server.key", &leaf_key.serialize_pem())?;
        self.write("ca.pem", &authority_cert.pem())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the demo's directory is left behind");
        }
    }
}
