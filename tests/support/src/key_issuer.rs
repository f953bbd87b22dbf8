//! An issuer of tokens that publishes its keys as Keycloak does, by https, and rotates them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::certificates::self_signed;
use super::directory::Directory;

struct IssuerState {
    published: Vec<Value>,
    status: u16,
    /// How often the keys were asked for.
    requests: usize,
    is_over: bool,
}

/// See the module.
pub struct KeyIssuer {
    /// `iss` of its tokens.
    pub name: String,
    /// Where its keys are.
    pub url: String,
    address: String,
    keys: Mutex<BTreeMap<String, KeyPair>>,
    state: Arc<Mutex<IssuerState>>,
    directory: Directory,
}

impl KeyIssuer {
    /// One on a free port, for this realm; it has published no keys.
    pub fn start(realm: &str) -> Self {
        let (tls, certificate) = self_signed();
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("its address").to_string();
        let state = IssuerState { published: Vec::new(), status: 200, requests: 0, is_over: false };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if lock(&shared).is_over {
                    return;
                }
                let (shared, tls) = (shared.clone(), tls.clone());
                thread::spawn(move || {
                    let session = rustls::ServerConnection::new(tls).expect("a session");
                    serve(rustls::StreamOwned::new(session, stream.expect("a connection")), &shared);
                });
            }
        });
        let directory = Directory::new();
        std::fs::create_dir_all(directory.path()).expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), certificate).expect("a file");
        let port = address.rsplit_once(':').expect("a port").1;
        let name = format!("https://localhost:{port}/realms/{realm}");
        let url = format!("{name}/protocol/openid-connect/certs");
        Self { name, url, address, keys: Mutex::default(), state, directory }
    }

    /// The file with the authority of its certificate.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Makes a key, and publishes it alone, beside one for encryption.
    pub fn rotate_to(&self, id: &str) {
        let key = KeyPair::generate().expect("a key");
        let point = key.public_key_raw();
        assert_eq!(point.len(), 65, "an uncompressed point of P-256");
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let certificate = STANDARD.encode(key.serialize_der());
        let signing = json!({ "kid": id, "kty": "EC", "alg": "ES256", "use": "sig", "crv": "P-256",
            "x": text(&point[1..33]), "y": text(&point[33..]), "x5c": [certificate], "x5t": "AA", "x5t#S256": "AA" });
        let encrypting = json!({ "kid": format!("{id}-enc"), "kty": "RSA", "alg": "RSA-OAEP", "use": "enc",
            "n": text(&[0xC1; 256]), "e": "AQAB", "x5c": [certificate], "x5t": "AA", "x5t#S256": "AA" });
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), key);
        lock(&self.state).published = vec![encrypting, signing];
    }

    /// Sets the status of its answers.
    pub fn answer_with(&self, status: u16) {
        lock(&self.state).status = status;
    }

    /// How often its keys were asked for.
    pub fn requests(&self) -> usize {
        lock(&self.state).requests
    }

    /// A token by one of its keys.
    pub fn token(&self, key_id: &str, claims: &Value) -> String {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        self.token_by(&keys[key_id], key_id, claims)
    }

    /// A token by a key that it has never had.
    pub fn forged(&self, key_id: &str, claims: &Value) -> String {
        self.token_by(&KeyPair::generate().expect("a key"), key_id, claims)
    }

    fn token_by(&self, key: &KeyPair, key_id: &str, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let mut all = json!({ "sub": "ann", "iss": self.name, "aud": ["account", "chat"], "exp": now + 3600 });
        all.as_object_mut().expect("an object").extend(claims.as_object().cloned().unwrap_or_default());
        let header = Header { kid: Some(key_id.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).expect("a key");
        encode(&header, &all, &key).expect("a token")
    }
}

impl Drop for KeyIssuer {
    fn drop(&mut self) {
        lock(&self.state).is_over = true;
        // Wakes the thread that accepts.
        drop(TcpStream::connect(&self.address));
    }
}

fn lock(state: &Mutex<IssuerState>) -> MutexGuard<'_, IssuerState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: impl Read + Write, state: &Mutex<IssuerState>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !reader.read_line(&mut head).is_ok_and(|read| read > 0) {
                return;
            }
        }
        assert!(head.starts_with("GET /realms/"), "{head}");
        let (status, body) = {
            let mut state = lock(state);
            state.requests += 1;
            (state.status, json!({ "keys": state.published }).to_string())
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        if reader.get_mut().write_all(answer.as_bytes()).is_err() || reader.get_mut().flush().is_err() {
            return;
        }
    }
}
