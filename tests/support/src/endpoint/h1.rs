//! One HTTP/1.1 connection (RFC 9112).

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::answer::{Origin, Pending, Turn};
use super::{SILENCE, Shared, websocket};
use crate::request::Requests;
use crate::script::{Script, script};

/// Answers the requests of one connection, until it ends or becomes a WebSocket.
pub(super) async fn converse<S>(
    mut stream: S,
    origin: Origin,
    shared: &Shared,
) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut requests = Requests::default();
    while let Some(request) = timeout(SILENCE, requests.next(&mut stream)).await?? {
        let script = match shared.turn(&request, origin)? {
            Turn::Call(pending) => {
                let seed = pending.number();
                let script = script(&pending.reply, &pending.plan, seed, request.closes())?;
                serve(*pending, &script, shared, &mut stream).await?;
                script
            }
            Turn::Beside(reply, plan) => {
                let script = script(&reply, &plan, 0, request.closes())?;
                let count = if request.method == "HEAD" {
                    1
                } else {
                    script.pieces.len()
                };
                for piece in script.pieces.iter().take(count) {
                    write(&mut stream, &piece.bytes).await?;
                }
                script
            }
            Turn::Socket(api, plan) => {
                let rest = requests.into_rest();
                return websocket::converse(stream, rest, &request, api, &plan, origin, shared)
                    .await;
            }
        };
        if script.drops {
            return Ok(());
        }
        if script.closes {
            break;
        }
    }
    stream.shutdown().await?;
    Ok(())
}

/// Writes the answer to a call, and records it.
async fn serve<S: AsyncWrite + Unpin>(
    mut pending: Pending,
    script: &Script,
    shared: &Shared,
    stream: &mut S,
) -> anyhow::Result<()> {
    for (index, piece) in script.pieces.iter().enumerate() {
        if piece.waits {
            sleep(pending.plan.delay).await;
        }
        if index == script.terminal {
            pending.ends(shared)?;
        }
        if let Err(error) = write(stream, &piece.bytes).await {
            pending.breaks(shared)?;
            return Err(error);
        }
        if index == script.terminal {
            pending.is_written();
        }
    }
    Ok(())
}

/// Writes bytes as a TLS record of their own.
async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> anyhow::Result<()> {
    timeout(SILENCE, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .await??;
    Ok(())
}
