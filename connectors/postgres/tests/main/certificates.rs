//! Certificates for tests, by openssl.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What [`make`] encrypts `alice.encrypted.key` with.
pub(crate) const KEY_PASSWORD: &str = "opens-alice";

/// Makes in `folder`:
///
/// - `ca.pem`, `other-ca.pem`: authorities;
/// - `server.pem`, `server.key`: for `localhost` (and not for `127.0.0.1`), signed by `ca`;
/// - `self.pem`, `self.key`: self-signed, for `localhost` by its common name only;
/// - `old.pem`, `old.key`: of X.509 version 1, signed by `ca`;
/// - `alice.pem`, `alice.key`, `alice.encrypted.key` (PKCS#8), `alice.sec1.key`, `alice.der`: a client.
pub(crate) fn make(folder: &Path) {
    fs::create_dir(folder).unwrap();
    const SCRIPT: &str = r#"
        set -eu
        key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
        authority() {
            key "$1"
            openssl req -x509 -new -key "$1.key" -days 3650 -subj "/CN=$2" -out "$1.pem"
        }
        signed() {
            key "$1"
            openssl req -new -key "$1.key" -subj "/CN=$1" -out csr
            openssl x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out "$1.pem" "${@:2}"
        }
        authority ca 'Towpath test CA'
        authority other-ca 'Another test CA'
        authority self localhost
        echo 'subjectAltName=DNS:localhost' > extensions
        signed server -extfile extensions
        signed alice -extfile extensions
        signed old
        openssl pkcs8 -topk8 -v2 aes-256-cbc -in alice.key -passout "pass:$1" -out alice.encrypted.key
        openssl ec -in alice.key -out alice.sec1.key
        openssl pkcs8 -topk8 -nocrypt -in alice.key -outform DER -out alice.der
        chmod 600 ./*.key
    "#;
    let script = Command::new("bash")
        .args(["-c", SCRIPT, "certificates", KEY_PASSWORD])
        .current_dir(folder)
        .output()
        .expect("bash makes the certificates");
    let said = String::from_utf8_lossy(&script.stderr);
    assert!(script.status.success(), "openssl made no certificates: {said}");
}
