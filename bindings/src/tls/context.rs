//! What the sides of connections have in common: a certificate, and whom they believe.
//!
//! The configurations are made when the first connection needs them, and shared by all later ones.

use std::ffi::{CStr, c_int};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig};

use super::trust::{Everybody, authorities};
use crate::object::{self, Object};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The file of the certificate.
    #[error("SSL_CTX_use_certificate_chain_file error:{why}")]
    Certificate {
        /// What is wrong with it.
        why: String,
    },
    /// The file of the key.
    #[error("SSL_CTX_use_PrivateKey_file error:{why}")]
    Key {
        /// What is wrong with it.
        why: String,
    },
    /// They do not belong together.
    #[error("SSL_CTX_check_private_key error:{0}")]
    Pair(rustls::Error),
    /// A server without a certificate.
    #[error("SSL_new failed: the context of a server has no certificate")]
    NoCertificate,
    /// The file of authorities.
    #[error("authorities of {}: {why}", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Anything else.
    #[error("SSL_new failed: {0}")]
    Other(#[from] rustls::Error),
}

/// A context.
pub(super) struct Context {
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    verify: bool,
    authorities: Option<PathBuf>,
    server: Option<Arc<ServerConfig>>,
    believing: Option<Arc<ClientConfig>>,
    checking: Option<Arc<ClientConfig>>,
}

impl Default for Context {
    fn default() -> Context {
        Context {
            identity: None,
            verify: true,
            authorities: None,
            server: None,
            believing: None,
            checking: None,
        }
    }
}

/// The algorithms.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Context {
    /// Makes what the first connection needs.
    fn set_cert(&mut self, certificate: &Path, key: &Path) -> Result<(), Failed> {
        let unreadable =
            |error: rustls::pki_types::pem::Error| Failed::Certificate { why: error.to_string() };
        let chain = CertificateDer::pem_file_iter(certificate)
            .map_err(unreadable)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        if chain.is_empty() {
            return Err(Failed::Certificate { why: "no certificate in it".to_owned() });
        }
        let key =
            PrivateKeyDer::from_pem_file(key).map_err(|error| Failed::Key { why: error.to_string() })?;
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(Failed::Pair)?;
        self.server = Some(Arc::new(server));
        self.identity = Some((chain, key));
        (self.believing, self.checking) = (None, None);
        Ok(())
    }

    /// What a server's connection begins with.
    pub(super) fn for_server(&self) -> Result<Arc<ServerConfig>, Failed> {
        self.server.clone().ok_or(Failed::NoCertificate)
    }

    /// Whether certificates are checked at all.
    pub(super) fn verifies(&self) -> bool {
        self.verify
    }

    /// What a client's connection begins with, made already or now.
    pub(super) fn for_client(&self, checked: bool) -> Result<Arc<ClientConfig>, Failed> {
        let made = if checked { &self.checking } else { &self.believing };
        if let Some(made) = made {
            return Ok(Arc::clone(made));
        }
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if checked {
            builder.with_root_certificates(authorities(self.authorities.as_deref())?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Everybody(provider)))
        };
        let config = match &self.identity {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(Failed::Pair)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    /// Keeps what [`Context::for_client`] made, for the next one.
    pub(super) fn keep(&mut self, checked: bool, config: &Arc<ClientConfig>) {
        let slot = if checked { &mut self.checking } else { &mut self.believing };
        slot.get_or_insert_with(|| Arc::clone(config));
    }
}

impl Object for Context {
    const NAME: &'static CStr = c"ltls.context";
    const METHODS: &'static [(&'static CStr, ffi::lua_CFunction)] = &[
        (c"set_cert", set_cert),
        (c"set_ciphers", set_ciphers),
        (c"set_verify", set_verify),
        (c"set_authorities", set_authorities),
    ];
}

/// Does something to the context in slot 1.
///
/// # Safety
/// As for `raise`: nothing with a destructor is alive.
unsafe fn with(state: *mut lua_State, work: impl FnOnce(&mut Context) -> Result<(), Failed>) {
    // SAFETY: by the caller's promise; the argument stays in its slot.
    unsafe {
        let Some(slot) = object::get::<Context>(state, 1) else { raise(state, Raise::new("need sslctx")) };
        let done = guard(|| {
            let mut context = slot.value.borrow_mut();
            let context = context.as_mut().ok_or_else(|| Raise::new("need sslctx"))?;
            Ok(work(context)?)
        });
        if let Err(error) = done {
            raise(state, error);
        }
    }
}

/// A path in slot `index`; raises `complaint` if there is none.
unsafe fn path<'a>(state: *mut lua_State, index: c_int, complaint: &str) -> &'a Path {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: a string is not converted, and stays in its slot; nothing with a destructor is alive when this raises.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
            raise(state, Raise::new(complaint));
        }
        Path::new(std::ffi::OsStr::from_bytes(bytes(state, index).unwrap_or_default()))
    }
}

/// `ctx:set_cert(certfile: string, keyfile: string)`: PEM files; the chain begins with the own certificate.
unsafe extern "C-unwind" fn set_cert(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        let (certificate, key) = (path(state, 2, "need certfile"), path(state, 3, "need private key"));
        with(state, |context| context.set_cert(certificate, key));
    }
    0
}

/// `ctx:set_ciphers(list: string)`: accepted, and without effect. rustls has no weak ones to leave out.
unsafe extern "C-unwind" fn set_ciphers(state: *mut lua_State) -> c_int {
    // SAFETY: as in `set_cert`.
    unsafe {
        path(state, 2, "need cipher list");
        with(state, |_| Ok(()));
    }
    0
}

/// `ctx:set_verify(on: boolean)`: whether clients that name their server check its certificate.
unsafe extern "C-unwind" fn set_verify(state: *mut lua_State) -> c_int {
    // SAFETY: as in `set_cert`.
    unsafe {
        let on = ffi::lua_toboolean(state, 2) != 0;
        with(state, |context| {
            context.verify = on;
            Ok(())
        });
    }
    0
}

/// `ctx:set_authorities(file: string)`: a PEM file of authorities, trusted beside those of the system.
unsafe extern "C-unwind" fn set_authorities(state: *mut lua_State) -> c_int {
    // SAFETY: as in `set_cert`.
    unsafe {
        let file = path(state, 2, "need file of authorities");
        with(state, |context| {
            authorities(Some(file))?;
            context.authorities = Some(file.to_owned());
            context.checking = None;
            Ok(())
        });
    }
    0
}
