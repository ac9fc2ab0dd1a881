//! A page for Prometheus: just enough of an HTTP server to hand out one text, bounded in every direction.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Failure;
use super::exit::Exit;
use crate::limits::{
    METRICS_CONNECTIONS_MAX, METRICS_HEADERS_MAX, METRICS_REQUEST_BYTES_MAX, METRICS_TIMEOUT,
    PROGRESS_INTERVAL,
};

/// What the text is (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Listens where the user wants the page to be.
pub fn listen(addr: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    let bind = || {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error: io::Error| {
        Failure::new(
            Exit::Other,
            anyhow!("cannot listen on {addr} for --metrics: {error}; choose another ADDR:PORT"),
        )
    })
}

/// Answers for as long as the program runs. `page` writes the text anew for each who asks.
pub async fn serve(listener: std::net::TcpListener, page: impl Fn() -> String + Send + Sync + 'static) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!("there are no metrics: {error}"),
    };
    let page = Arc::new(page);
    let places = Arc::new(Semaphore::new(METRICS_CONNECTIONS_MAX));
    // Those who find no place wait in the kernel.
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = page.clone();
                tokio::spawn(async move {
                    // Whoever is slow or gone is not our concern.
                    let _ = timeout(METRICS_TIMEOUT, answer(stream, &*page)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("nobody can ask for metrics now: {error}");
                sleep(PROGRESS_INTERVAL).await;
            }
        }
    }
}

/// One request, one answer.
async fn answer(mut stream: TcpStream, page: &(impl Fn() -> String + ?Sized)) -> io::Result<()> {
    let mut request = Vec::with_capacity(METRICS_REQUEST_BYTES_MAX);
    let reply = loop {
        if let Some(reply) = judge(&request) {
            break reply;
        }
        let mut rest = (&mut stream).take((METRICS_REQUEST_BYTES_MAX - request.len()) as u64);
        if rest.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let (status, kind, body) = match reply {
        Reply::Page { .. } => ("200 OK", OPEN_METRICS, page()),
        Reply::Error(status) => (status, PLAIN, format!("{status}; the page is at /metrics\n")),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let body = if matches!(reply, Reply::Page { head_only: true }) { "" } else { &body };
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    stream.shutdown().await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Page { head_only: bool },
    Error(&'static str),
}

/// What to answer to a request; nothing until it is whole.
fn judge(request: &[u8]) -> Option<Reply> {
    let mut headers = [httparse::EMPTY_HEADER; METRICS_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(request) {
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Reply::Error("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(Reply::Error("400 Bad Request")),
        Ok(httparse::Status::Partial) if request.len() >= METRICS_REQUEST_BYTES_MAX => {
            return Some(Reply::Error("431 Request Header Fields Too Large"));
        }
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
    }
    let path = parsed.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Some(match (parsed.method, path) {
        (Some(method @ ("GET" | "HEAD")), "/metrics") => Reply::Page { head_only: method == "HEAD" },
        (Some("GET" | "HEAD"), _) => Reply::Error("404 Not Found"),
        _ => Reply::Error("405 Method Not Allowed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_request_for_the_page_gets_it() {
        let page = Some(Reply::Page { head_only: false });
        assert_eq!(judge(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), page);
        assert_eq!(judge(b"GET /metrics?x=1 HTTP/1.0\r\n\r\n"), page);
        assert_eq!(judge(b"HEAD /metrics HTTP/1.1\r\n\r\n"), Some(Reply::Page { head_only: true }));
        for partial in [&b""[..], b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: a\r\n"] {
            assert_eq!(judge(partial), None);
        }
        let refused = |request: &[u8]| match judge(request) {
            Some(Reply::Error(status)) => status[..3].parse::<u16>().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), 404);
        assert_eq!(refused(b"GET /metrics/../etc HTTP/1.1\r\n\r\n"), 404);
        assert_eq!(refused(b"POST /metrics HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(refused(b"\x16\x03\x01\0\0"), 400);
        assert_eq!(refused(b"GET /metrics HTTP/9\r\n\r\n"), 400);
        let long = [b"GET /metrics HTTP/1.1\r\nA: ", &vec![b'a'; METRICS_REQUEST_BYTES_MAX][..]].concat();
        assert_eq!(refused(&long), 431);
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(METRICS_HEADERS_MAX + 1));
        assert_eq!(refused(many.as_bytes()), 431);
    }
}
