//! Secrets on their way out: into one header for their audience, and out of whatever comes back.

use animus_core::{
    Denial, Error, Gate, Unlock,
    grant::SecretGrant,
    services::{Principal, Services},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What stands where a secret stood. One byte for each of its bytes, so that no length changes.
const MASK: u8 = b'*';

/// The secrets that one request carries, kept to take them out of the answer.
#[derive(Default)]
pub(super) struct Carried {
    values: Vec<Vec<u8>>,
}

impl Carried {
    /// Fetches each secret and puts it into its header, over whatever the guest set there.
    ///
    /// # Errors
    /// [`Error::Denied`] that says how to set a missing one; [`Error::Invalid`] for a value that no header can hold.
    /// Neither repeats the value.
    pub(super) async fn inject(
        services: &dyn Services,
        by: &Principal,
        grants: &[SecretGrant],
        headers: &mut HeaderMap,
    ) -> Result<Self, Error> {
        let mut carried = Self::default();
        for SecretGrant { handle, header, prefix, .. } in grants {
            let value = services.secret(by, handle).await.map_err(|error| match error {
                // A denial, because that reaches the operator whole and the guest without the command.
                Error::NotFound(_) => Error::from(Denial {
                    who: by.authority.plugin().to_string(),
                    capability: format!("secret:{handle}, which is not set"),
                    gate: Gate::Policy,
                    unlock: Unlock::AskOperator,
                    reason: None,
                    command: Some(format!("animus secret set {handle}")),
                }),
                other => other,
            })?;
            let name: HeaderName =
                header.parse().map_err(|_| Error::Invalid(format!("secret '{handle}' names no header: '{header}'")))?;
            let mut line = HeaderValue::try_from(format!("{prefix}{}", value.expose())).map_err(|_| {
                Error::Invalid(format!(
                    "secret '{handle}' has characters that no header can hold; to replace it: animus secret set {handle}"
                ))
            })?;
            line.set_sensitive(true);
            headers.insert(name, line);
            if !value.expose().is_empty() {
                carried.values.push(value.expose().as_bytes().to_vec());
            }
        }
        if !carried.values.is_empty() {
            // A compressed echo would pass the mask.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        // Longest first: where one secret is a part of another, the whole of the longer one goes.
        carried.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Ok(carried)
    }

    /// Masks the secrets in header values.
    fn mask_headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let mut bytes = value.as_bytes().to_vec();
            if self.mask(&mut bytes, usize::MAX)
                && let Ok(masked) = HeaderValue::from_bytes(&bytes)
            {
                *value = masked;
            }
        }
    }

    /// Masks the secrets that begin in the first `starts` bytes; says whether there were any.
    fn mask(&self, bytes: &mut [u8], starts: usize) -> bool {
        let mut found = false;
        for value in &self.values {
            let mut rest = &mut *bytes;
            let mut starts = starts;
            while let Some(at) = rest.windows(value.len()).take(starts).position(|window| window == value) {
                let (_, from) = rest.split_at_mut(at);
                let (secret, after) = from.split_at_mut(value.len());
                secret.fill(MASK);
                found = true;
                starts = starts.saturating_sub(at + value.len());
                rest = after;
            }
        }
        found
    }

    /// A mask for a body that comes in pieces.
    pub(super) fn into_mask(self) -> BodyMask {
        BodyMask { carried: self, held: BytesMut::new() }
    }
}

/// Masks secrets in a stream, also where they lie across pieces: it holds back the few last bytes of each piece.
///
/// It finds what a server echoes plainly. A server that encodes the secret and sends it back defeats it; but that server
/// is the audience that the operator named.
pub(super) struct BodyMask {
    carried: Carried,
    held: BytesMut,
}

impl BodyMask {
    /// Masks the secrets in header or trailer values.
    pub(super) fn headers(&self, headers: &mut HeaderMap) {
        self.carried.mask_headers(headers);
    }

    /// The next piece that is safe to pass on; may be empty.
    pub(super) fn push(&mut self, piece: Bytes) -> Bytes {
        let Some(longest) = self.carried.values.first().map(Vec::len) else { return piece };
        self.held.extend_from_slice(&piece);
        // What begins in here also ends in what is held, whichever secret it is.
        let safe = (self.held.len() + 1).saturating_sub(longest);
        self.carried.mask(&mut self.held, safe);
        self.held.split_to(safe).freeze()
    }

    /// What was held back, when no more comes.
    pub(super) fn finish(&mut self) -> Bytes {
        self.carried.mask(&mut self.held, usize::MAX);
        self.held.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(values: &[&str]) -> Carried {
        Carried { values: values.iter().map(|value| value.as_bytes().to_vec()).collect() }
    }

    #[test]
    fn an_echoed_secret_is_masked_at_every_split() {
        let body = b"head s3cret-value s3cret-values3cret-value s3cret tail s3cret-valu";
        let expected = b"head ************ ************************ ****** tail ******-valu";
        for first in 0..body.len() {
            for second in first..body.len() {
                let mut mask = carried(&["s3cret-value", "s3cret"]).into_mask();
                let mut out = Vec::new();
                for piece in [&body[..first], &body[first..second], &body[second..]] {
                    out.extend_from_slice(&mask.push(Bytes::copy_from_slice(piece)));
                }
                out.extend_from_slice(&mask.finish());
                assert_eq!(out, expected, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_body_without_secrets_passes_at_once_and_unchanged() {
        let mut mask = carried(&[]).into_mask();
        assert_eq!(mask.push(Bytes::from_static(b"abc")), "abc");
        assert!(mask.finish().is_empty());
    }

    #[test]
    fn an_echoed_secret_is_masked_in_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", HeaderValue::from_static("Bearer tok-longer tok"));
        headers.insert("x-plain", HeaderValue::from_static("plain"));
        carried(&["tok-longer", "tok"]).mask_headers(&mut headers);
        assert_eq!(headers["x-echo"], "Bearer ********** ***");
        assert_eq!(headers["x-plain"], "plain");
    }
}
