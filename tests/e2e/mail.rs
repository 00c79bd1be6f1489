//! Mails about alerts, through msmtp to a server: what arrives there, and what becomes of those that don't.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use agent_core::alert::Severity;
use serde_json::Value;
use test_support::mail_server::{Mail, MailServer};

use crate::alerts::{Host, condition};
use crate::world::Home;

/// Where Debian has it.
const MSMTP: &str = "/usr/bin/msmtp";

/// When the alert fires: 2026-11-18T11:06:40Z.
const NOW_MS: i64 = 1_795_000_000_000;

/// Settings of msmtp for a server at this port.
fn settings(home: &Home, port: u16) {
    let text = format!(
        "account default\nhost 127.0.0.1\nport {port}\nfrom meter@example.com\ntls off\nauth off\n"
    );
    fs::write(home.path("msmtprc"), text).unwrap();
}

/// A host that tells alerts by mail; `None`, with a `SKIP` line, where msmtp is missing.
fn host(home: &Home) -> Option<Host> {
    if !Path::new(MSMTP).exists() {
        println!("SKIP mail: {MSMTP} is not installed");
        return None;
    }
    Some(Host::new(&format!(
        "[[notify]]\nname = \"post\"\nkind = \"mail\"\nto = [\"ops@example.com\", \"lead@example.com\"]\n\
         command = [\"{MSMTP}\", \"--file={}\"]\n",
        home.path("msmtprc").display()
    )))
}

/// The lines of a mail's head, and its body as it was before it was made fit for the way.
fn parts(mail: &Mail) -> (Vec<&str>, String) {
    let (head, body) = mail.text.split_once("\n\n").unwrap();
    let mut bytes = Vec::new();
    let joined = body.replace("=\n", "");
    let mut pieces = joined.split('=');
    bytes.extend(pieces.next().unwrap().bytes());
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend(rest.bytes());
    }
    (head.lines().collect(), String::from_utf8(bytes).unwrap())
}

#[test]
fn a_mail_arrives_as_its_standards_have_it() {
    let (home, server) = (Home::new(), MailServer::start().unwrap());
    settings(&home, server.port());
    let Some(mut host) = host(&home) else { return };
    host.step(NOW_MS, vec![condition("nächtlich", Severity::Page)]);
    host.record(NOW_MS);
    assert_eq!(host.deliveries(), "post|fire|delivered|1|\n");

    let mail = server.mail().unwrap();
    assert_eq!(mail.from, "meter@example.com");
    assert_eq!(mail.to, ["ops@example.com", "lead@example.com"]);
    assert!(mail.text.is_ascii());
    assert!(mail.text.lines().all(|line| line.len() <= 76), "{mail:?}");
    let (head, body) = parts(&mail);
    let (id, head): (Vec<_>, Vec<_>) = head
        .into_iter()
        .partition(|line| line.starts_with("Message-ID: "));
    assert!(
        matches!(id[..], [id] if id.ends_with("@web-01.bpftok>")),
        "{id:?}"
    );
    assert_eq!(
        head,
        [
            "From: meter@example.com",
            "To: ops@example.com, lead@example.com",
            "Subject: =?utf-8?q?=5Bpage=5D_web=2D01=3A_n=C3=A4chtlich_spends_far_more_t?=",
            " =?utf-8?q?han_it_ever_does_=28bpftok_alerts_show_1=29?=",
            "Date: Wed, 18 Nov 2026 11:06:40 -0000",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: quoted-printable",
        ]
    );
    let (said, document) = body.split_once("\n\n").unwrap();
    assert_eq!(
        said,
        "[page] web-01: nächtlich spends far more than it ever does (bpftok alerts show 1)"
    );
    let stored = host
        .home
        .sqlite3("SELECT payload_json FROM alert_delivery")
        .text();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(document), json(&stored));
}

#[test]
fn a_mail_whose_server_is_away_is_tried_again_later_and_that_is_told() {
    let (home, server) = (Home::new(), MailServer::start().unwrap());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    settings(&home, closed.local_addr().unwrap().port());
    drop(closed);
    let Some(mut host) = host(&home) else { return };
    let wrong = || vec![condition("nightly", Severity::Page)];
    host.step(NOW_MS, wrong());
    host.record(NOW_MS);
    // 75 is EX_TEMPFAIL of sysexits.h.
    let failed = "post|fire|failed|1|/usr/bin/msmtp ended with exit status 75\n";
    assert_eq!(host.deliveries(), failed);
    settings(&home, server.port());
    host.step(NOW_MS + 29_999, wrong());
    assert_eq!(host.deliveries(), failed);
    host.step(NOW_MS + 30_000, wrong());
    host.record(NOW_MS + 30_000);
    assert_eq!(
        host.deliveries(),
        "post|fire|delivered|2|/usr/bin/msmtp ended with exit status 75\n"
    );
    assert!(server.mail().is_some());
}
