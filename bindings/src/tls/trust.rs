//! Whom a client believes: the authorities of the system or of a file, or everybody.

use std::path::Path;
use std::sync::OnceLock;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use skein_arena::sync::Arc;

use super::context::Failed;

/// Where systems keep the authorities they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
];

/// The authorities of the system. They are read once.
fn of_system() -> &'static Arc<RootCertStore> {
    static STORE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    STORE.get_or_init(|| {
        let mut store = RootCertStore::empty();
        if let Some(bundle) = BUNDLES.iter().find(|path| Path::new(path).is_file()) {
            // What is broken in there is not ours to mend; others go on.
            if let Ok(found) = CertificateDer::pem_file_iter(bundle) {
                store.add_parsable_certificates(found.filter_map(Result::ok));
            }
        }
        Arc::new(store)
    })
}

/// The authorities of the system, and those of `more`.
///
/// # Errors
/// `more` cannot be read, or holds no certificate. A system without authorities trusts nobody.
pub(super) fn authorities(more: Option<&Path>) -> Result<Arc<RootCertStore>, Failed> {
    let Some(path) = more else { return Ok(Arc::clone(of_system())) };
    let mut store = RootCertStore::clone(of_system());
    let failed = |why: String| Failed::Authorities { path: path.to_owned(), why };
    let before = store.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if store.len() == before {
        return Err(failed("no certificate in it".to_owned()));
    }
    Ok(Arc::new(store))
}

/// Accepts every certificate. The handshake still proves that the server has its key.
#[derive(Debug)]
pub(super) struct Everybody(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Everybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
