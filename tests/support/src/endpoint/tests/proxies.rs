//! Calls through a proxy, with the proxy's TLS around the endpoint's.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::client::{run, tls};
use super::*;
use crate::served::Outcome;

/// Asks a proxy for a tunnel, and makes a call through it.
async fn call<S: AsyncRead + AsyncWrite + Unpin>(endpoint: &Endpoint, mut proxy: S) -> String {
    let target = "api.anthropic.com:443";
    let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    proxy.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(proxy.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{head:?}");
    let mut stream = tls(endpoint, &["http/1.1"], proxy, "api.anthropic.com").await;
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: api.anthropic.com\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{BODY}",
        BODY.len(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[test]
fn a_tunnel_leads_to_the_endpoint_whatever_host_it_is_for() {
    for transport in [Transport::Plain, Transport::Tls] {
        let endpoint = Endpoint::start().unwrap();
        let proxy = endpoint.start_proxy(transport).unwrap();
        let reply = run(async {
            let port: u16 = proxy.url().rsplit(':').next().unwrap().parse().unwrap();
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .unwrap();
            match transport {
                Transport::Plain => call(&endpoint, stream).await,
                Transport::Tls => {
                    let stream = tls(&endpoint, &[], stream, "localhost").await;
                    call(&endpoint, stream).await
                }
            }
        });
        let served = &endpoint.served()[0];
        assert!(reply.contains(served.id.as_deref().unwrap()), "{reply}");
        assert_eq!(served.outcome, Outcome::Complete);
        let tunnels = proxy.tunnels();
        assert_eq!(tunnels.len(), 1);
        assert_eq!(tunnels[0].target, "api.anthropic.com:443");
        assert_eq!(tunnels[0].endpoint_port, served.client_port);
    }
}

#[test]
fn a_proxy_forwards_nothing_but_tunnels() {
    let endpoint = Endpoint::start().unwrap();
    let proxy = endpoint.start_proxy(Transport::Plain).unwrap();
    let reply = run(async {
        let port: u16 = proxy.url().rsplit(':').next().unwrap().parse().unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let request = b"GET http://localhost/ HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    });
    assert!(reply.starts_with("HTTP/1.1 405 "), "{reply}");
    assert!(proxy.tunnels().is_empty());
}
