//! Encrypted connections.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Trust;

/// Makes connections that are encrypted where the server can do it or the address asks for it.
pub(super) fn connector(trust: &Trust) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match trust {
        Trust::Any => {
            let verifier = Arc::new(Lenient { known: None, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        Trust::Authority { host, roots } => {
            let mut store = RootCertStore::empty();
            match roots {
                None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
                Some(path) => {
                    let unread = |error: &dyn std::fmt::Display| {
                        format!("sslrootcert {}: {error}", path.display())
                    };
                    let certificates =
                        CertificateDer::pem_file_iter(path).map_err(|error| unread(&error))?;
                    for certificate in certificates {
                        let certificate = certificate.map_err(|error| unread(&error))?;
                        store.add(certificate).map_err(|error| unread(&error))?;
                    }
                    if store.is_empty() {
                        return Err(unread(&"it has no certificate in PEM"));
                    }
                }
            }
            match host {
                true => builder.with_root_certificates(store),
                false => {
                    let roots = Arc::new(store);
                    let known =
                        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                            .build()
                            .map_err(|error| error.to_string())?;
                    let verifier = Arc::new(Lenient { known: Some(known), provider });
                    builder.dangerous().with_custom_certificate_verifier(verifier)
                }
            }
        }
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

/// What `sslmode` below `verify-full` asks for: the certificate of any server, or of any that an
/// authority vouches for, whatever its name.
#[derive(Debug)]
struct Lenient {
    known: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(known) = &self.known else { return Ok(ServerCertVerified::assertion()) };
        match known.verify_server_cert(certificate, between, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
