//! Certificates and the names that they give.

use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::*;
use crate::certificates::{Authority, Wish};

fn authority() -> Authority {
    Authority::new("ca", SystemTime::UNIX_EPOCH + Duration::from_secs(1000)).unwrap()
}

fn read(wish: &Wish) -> Result<Shown, Nobody> {
    let issued = authority().issue(wish).unwrap();
    shown(&CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap())
}

#[test]
fn the_one_uri_is_the_name_or_else_the_common_name() {
    let wish = authority().client("alice", "agentd:operator");
    let Shown { certificate, is_for_clients, validity } = read(&wish).unwrap();
    assert_eq!((certificate.name.as_str(), is_for_clients), ("alice", true));
    assert_eq!(certificate.organizations, ["agentd:operator"]);
    assert_eq!(certificate.serial, "4a0001");
    assert_eq!(certificate.not_after, wish.until);
    assert_eq!(validity, Duration::from_secs(90 * 86_400 + 300));

    let uri = "spiffe://example.org/agentd/alice";
    let with_uri = Wish { uris: vec![uri.to_owned()], ..wish };
    assert_eq!(read(&with_uri).unwrap().certificate.name, uri);
    let nameless = Wish { name: None, organization: None, ..with_uri };
    let shown = read(&nameless).unwrap();
    assert_eq!(shown.certificate.name, uri);
    assert_eq!(shown.certificate.organizations, Vec::<String>::new());
}

#[test]
fn who_has_no_name_or_too_many_is_nobody() {
    let wish = authority().client("alice", "agentd:operator");
    let named = |name: &str| read(&Wish { name: Some(name.to_owned()), ..wish.clone() });
    assert_eq!(read(&Wish { name: None, ..wish.clone() }).err(), Some(Nobody::CommonNames(0)));
    let uris = vec!["spiffe://x/a".to_owned(), "spiffe://x/b".to_owned()];
    assert_eq!(read(&Wish { uris, ..wish.clone() }).err(), Some(Nobody::ManyUris(2)));
    let long = "x".repeat(limits::NAME + 1);
    for bad in ["", " ", "uid:0", "config", "agent", "others", "a\nb", "a\u{1b}[2J", &long] {
        assert_eq!(named(bad).err(), Some(Nobody::BadName), "{bad:?}");
    }
    let uris = vec!["uid:0".to_owned()];
    assert_eq!(read(&Wish { uris, ..wish.clone() }).err(), Some(Nobody::BadName));
    assert_eq!(shown(b"alice").err(), Some(Nobody::Malformed));
}

#[test]
fn it_is_for_clients_only_where_it_says_so() {
    let wish = authority().client("alice", "agentd:operator");
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    for (usages, is_for_clients) in [
        (vec![ClientAuth], true),
        (vec![ServerAuth, ClientAuth], true),
        (vec![ServerAuth], false),
        (vec![Any], false),
        (vec![], false),
    ] {
        let shown = read(&Wish { usages, ..wish.clone() }).unwrap();
        assert_eq!(shown.is_for_clients, is_for_clients);
    }
}

#[test]
fn serials_are_written_one_way() {
    assert_eq!(serial(&[0, 0x8a, 0x0f]), "8a0f");
    assert_eq!(serial(&[0]), "");
}
